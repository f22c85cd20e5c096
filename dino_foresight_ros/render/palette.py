"""Class ids as colours, and colours laid over a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
"""(r, g, b), each 0 to 255."""

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

UNLABELLED = 255
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
