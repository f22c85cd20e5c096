"""Class ids, depth, normals and surprise as colours, and colours laid over a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED

Color = tuple[int, int, int]
"""(r, g, b), each 0 to 255."""

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

FloatImage = NDArray[np.float32]

UNLABELLED_COLOR: Color = (44, 44, 48)


@dataclass(frozen=True)
class ClassPalette:
    """Names and colours of the classes; an id is the position in both.

    Attributes:
        names: class names.
        colors: one (r, g, b) per class.
        unlabelled: id of pixels without a class.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    unlabelled: int = UNLABELLED

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(f"{len(self.names)} class names but {len(self.colors)} colours")

    def colorize(self, ids: NDArray[np.uint8]) -> Picture:
        """(H, W) uint8 class ids -> (H, W, 3) uint8; see `colorize`."""
        return colorize(ids, self.colors, self.unlabelled)


def colorize(
    ids: NDArray[np.uint8], colors: Sequence[Color], unlabelled: int = UNLABELLED
) -> Picture:
    """(H, W) uint8 class ids -> (H, W, 3) uint8 RGB.

    The id `unlabelled`, and every id that has no colour, becomes dark grey.
    """
    table = np.full((256, 3), UNLABELLED_COLOR, np.uint8)
    known = np.asarray(colors, np.uint8).reshape(-1, 3)[:256]
    table[: len(known)] = known
    table[unlabelled] = UNLABELLED_COLOR
    return table[ids]


def overlay(
    image: Picture,
    colors: Picture,
    alpha: float = 0.5,
    where: NDArray[np.bool_] | None = None,
) -> Picture:
    """Lay colours over a picture of the same size: alpha * colors + (1 - alpha) * image.

    Args:
        image: (H, W, 3) uint8.
        colors: (H, W, 3) uint8.
        alpha: 0 (only the image) to 1 (only the colours).
        where: (H, W) bool, the pixels to colour; None for all of them.
    """
    if image.shape != colors.shape:
        raise ValueError(f"picture {image.shape} and colours {colors.shape} differ in size")
    # 8.8 fixed point: a third of the time of floats, and off by at most one level.
    weight = round(alpha * 256)
    mixed = colors.astype(np.uint16) * np.uint16(weight)
    mixed += image.astype(np.uint16) * np.uint16(256 - weight)
    result = ((mixed + np.uint16(127)) >> np.uint16(8)).astype(np.uint8)
    if where is not None:
        result[~where] = image[~where]
    return result


_NICE = (1.0, 2.0, 5.0)
# The map's own dark end is black, which is kept for unknown depth: the far end starts above it.
_DARKEST = 28
_PERCENTILES = (1.0, 99.0)
# A narrower scale would blow small differences up to the whole range of colours.
_LEAST_SPAN = 10.0
_MAX_SAMPLES = 200_000


def _nice_numbers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within [low, high]."""
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    numbers = [m * 10.0**e for e in range(first, last + 1) for m in _NICE]
    return [n for n in numbers if low * 0.999 <= n <= high * 1.001]


def _depth_colors() -> Picture:
    ramp = np.linspace(_DARKEST, 255, 256).round().astype(np.uint8)
    table = cv2.applyColorMap(ramp.reshape(-1, 1), cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(table[:, 0, ::-1])


_DEPTH_COLORS = _depth_colors()


@dataclass(frozen=True)
class DepthScale:
    """What depth has what colour.

    Metric depth is spread by its logarithm, because most of a driving scene is near. Relative
    inverse depth is spread evenly. Values beyond the ends take the colour of that end.

    Attributes:
        near: the depth that is brightest (metres, or the largest inverse depth).
        far: the depth that is darkest (metres, or the smallest inverse depth).
        is_metric: whether depth is in metres; otherwise inverse depth, 0 far to 255 near.
    """

    near: float
    far: float
    is_metric: bool = True

    def __post_init__(self) -> None:
        if self.is_metric and not 0 < self.near < self.far:
            raise ValueError(f"a metric scale needs 0 < near < far, not {self.near}, {self.far}")
        if not self.is_metric and not self.near > self.far:
            raise ValueError(f"a relative scale needs near > far, not {self.near}, {self.far}")

    @staticmethod
    def fixed(is_metric: bool) -> DepthScale:
        """The scale for streams, whose range is not known beforehand: 2 to 100 m, or 255 to 0."""
        return DepthScale(2.0, 100.0) if is_metric else DepthScale(255.0, 0.0, is_metric=False)

    @staticmethod
    def spanning(depths: Iterable[FloatImage], is_metric: bool) -> DepthScale:
        """A scale that suits all of the images, ends rounded to 1, 2 or 5 times a power of ten.

        It spans a factor of ten at least. Outliers (1 % at each end) are left out. Falls back to
        `fixed` where nothing is known.
        """
        if not is_metric:
            return DepthScale.fixed(False)
        samples = [_sample(depth) for depth in depths]
        known = np.concatenate(samples) if samples else np.empty(0, np.float32)
        if known.size == 0:
            return DepthScale.fixed(True)
        low, high = (float(v) for v in np.percentile(known, _PERCENTILES))
        nice = _nice_numbers(low / 100, high * 100)
        first = max(i for i, n in enumerate(nice) if n <= low * 1.1)
        last = min(i for i, n in enumerate(nice) if n >= high / 1.1)
        while nice[last] < _LEAST_SPAN * nice[first]:
            first, last = first - 1, last + 1
        return DepthScale(nice[first], nice[last])

    def positions(self, depth: FloatImage) -> FloatImage:
        """Depth -> 0 (far) to 1 (near), NaN kept."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.is_metric:
                # A depth of zero or less is no depth.
                known = np.where(depth > 0, depth, np.nan)
                span = np.log(self.far / self.near)
                position = np.log(self.far / known) / span
            else:
                position = (depth - self.far) / (self.near - self.far)
        return np.clip(position, 0.0, 1.0).astype(np.float32)

    def ticks(self) -> list[float]:
        """Depths to write beside a scale bar, near first."""
        if not self.is_metric:
            return [float(v) for v in np.linspace(self.near, self.far, 5)]
        return _nice_numbers(self.near, self.far)

    def colorize(self, depth: FloatImage) -> Picture:
        """(H, W) float depth -> (H, W, 3) uint8 RGB; NaN is black, infinity is the far end."""
        position = self.positions(depth)
        unknown = np.isnan(position)
        index = (np.where(unknown, 0.0, position) * 255.0 + 0.5).astype(np.uint8)
        picture = _DEPTH_COLORS[index]
        picture[unknown] = 0
        return picture

    def bar(self, height: int, width: int) -> Picture:
        """(height, width, 3) uint8: the colours from near (left) to far (right)."""
        row = _DEPTH_COLORS[np.linspace(255, 0, width).round().astype(np.uint8)]
        return np.repeat(row[None], height, axis=0)


def _sample(depth: FloatImage) -> FloatImage:
    known = depth[np.isfinite(depth) & (depth > 0)]
    return known[:: max(1, known.size // _MAX_SAMPLES)]


def colorize_normals(normals: NDArray[np.float32]) -> Picture:
    """(H, W, 3) unit normals in the optical frame (x right, y down, z forward) -> uint8 RGB.

    Red grows to the right, green upwards and blue towards the camera, as in most papers: a road
    is green, a wall that faces the camera is blue. NaN is black.
    """
    unknown = np.asarray(np.isnan(normals).any(axis=-1))
    known = np.where(unknown[..., None], 0.0, normals)
    towards_viewer = known * np.array([1.0, -1.0, -1.0], np.float32)
    picture = np.clip((towards_viewer + 1.0) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    picture[unknown] = 0
    return picture


BRIGHTEST_SURPRISE = 4.0
"""Surprise from which on the colour stays the brightest: four times what a still world would be."""

PATCH_PIXELS = 8
"""Pixels per patch, as in the predicted images."""

_UNKNOWN_SURPRISE = 96


def colorize_surprise(surprise: NDArray[np.float32]) -> Picture:
    """(h, w) float32, NaN unknown -> (8h, 8w, 3) uint8 RGB.

    The scale is the square root of the value, since the values are squared errors.
    """
    known = ~np.isnan(surprise)
    values = np.clip(np.where(known, surprise, 0.0), 0.0, BRIGHTEST_SURPRISE)
    level = np.sqrt(values / BRIGHTEST_SURPRISE)
    bgr = cv2.applyColorMap((level * 255.0).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    colors = np.asarray(bgr[..., ::-1], np.uint8).copy()
    colors[~known] = _UNKNOWN_SURPRISE
    return colors.repeat(PATCH_PIXELS, axis=0).repeat(PATCH_PIXELS, axis=1)
