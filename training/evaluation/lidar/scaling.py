"""Putting depth that is known up to scale into metres, from one moment that is already past.

A relative head gives an inverse depth q of unknown unit, 0 infinitely far: depth = scale / q. Some
relative heads are shifted, too: 1 / depth = q / scale + shift. Scale and shift are found on the
newest frame of the context and hold for everything forecast from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle, DepthTask, SegmentationTask
from dino_foresight_ros.outputs import SEGMENTATION

AS_IT_IS, MEDIAN, AFFINE, CAMERA_HEIGHT = "as it is", "median", "affine", "camera-height"
SCALINGS = (MEDIAN, AFFINE, CAMERA_HEIGHT)
LEAST_POINTS = 10
LEAST_ROAD_CELLS = 30
_ROUNDS = 10
_LEAST_DOWN = 0.5
"""Cosine between the road's normal and the camera's down: a plane that leans more is no road."""

Map = NDArray[np.float64]


@dataclass(frozen=True)
class ScaleChoice:
    """How depth is put to scale.

    Attributes:
        method: one of SCALINGS; None: median for a relative head, none for a metric one.
        camera_height_m: of the camera over the road, for CAMERA_HEIGHT.
    """

    method: str | None = None
    camera_height_m: float | None = None

    def __post_init__(self) -> None:
        if self.method not in (None, *SCALINGS):
            raise UsageError(f"scale {self.method!r} is unknown; valid: {', '.join(SCALINGS)}")
        height_m = self.camera_height_m
        if (self.method == CAMERA_HEIGHT) != (height_m is not None):
            raise UsageError("--scale camera-height and --camera-height M go together; give both")
        if height_m is not None and not (math.isfinite(height_m) and height_m > 0):
            raise UsageError(f"camera height {height_m:g} m must be above 0")

    def methods(self, task: DepthTask) -> tuple[str, ...]:
        """What is scored: a metric head always as it is, too."""
        if task.is_metric:
            return (AS_IT_IS,) if self.method is None else (AS_IT_IS, self.method)
        return (self.method or MEDIAN,)


@dataclass(frozen=True)
class Scale:
    """1 / metres = inverse / scale + shift (1/m)."""

    scale: float
    shift: float = 0.0

    def metres(self, inverse: Map, max_m: float) -> Map:
        """Inverse depth of unknown unit -> metres, at most `max_m` (also for "infinitely far")."""
        return 1.0 / np.maximum(inverse / self.scale + self.shift, 1.0 / max_m)


def inverse_depth(task: DepthTask, depth: Map) -> Map:
    """What a head gave -> inverse depth up to scale (1/m for a metric head)."""
    return 1.0 / depth if task.is_metric else depth


def median_scale(inverse: Map, true_m: Map) -> Scale | None:
    """The median of true depth over predicted depth 1 / q; None with too few points."""
    known = np.isfinite(true_m) & (inverse > 0)
    if known.sum() < LEAST_POINTS:
        return None
    return Scale(float(np.median(true_m[known] * inverse[known])))


def affine_scale(inverse: Map, true_m: Map) -> Scale | None:
    """Least squares in inverse depth (Ranftl et al. 2020, sec. 5); None without a rising line."""
    known = np.isfinite(true_m) & np.isfinite(inverse)
    if known.sum() < LEAST_POINTS:
        return None
    x, y = inverse[known], 1.0 / true_m[known]
    spread = x - x.mean()
    slope = float((spread * y).sum()) / max(float((spread * spread).sum()), 1e-300)
    if not slope > 0:
        return None
    return Scale(1.0 / slope, float(y.mean() - slope * x.mean()))


def camera_height_scale(
    inverse: Map, rays: Map, road: NDArray[np.bool_], camera_height_m: float
) -> Scale | None:
    """The scale at which the road lies `camera_height_m` below the camera.

    With depth z = scale / q along rays r (z = 1), points of a plane n . (z r) = height have
    q = (scale / height) n . r: linear in r, with the length of the coefficients scale / height. The
    line is fitted to q, whose errors are even over the picture, and again without the cells that
    are far off it.

    Args:
        inverse: (H, W) q.
        rays: (H, W, 3).
        road: (H, W), where the road is.
        camera_height_m: metres, at a right angle to the road.

    Returns:
        None where too little road is seen, or the plane is none that a car drives on.
    """
    kept = road & (inverse > 0)
    for _ in range(_ROUNDS):
        if kept.sum() < LEAST_ROAD_CELLS:
            return None
        plane = np.linalg.lstsq(rays[kept], inverse[kept], rcond=None)[0].astype(np.float64)
        off = np.abs(rays @ plane - inverse)
        # 1.4826 x median is the standard deviation of normal errors; a flat fit keeps rounding.
        limit = 3 * 1.4826 * float(np.median(off[kept])) + 1e-9 * float(inverse[kept].max())
        again = road & (inverse > 0) & (off <= limit)
        if (again == kept).all():
            break
        kept = again
    length = float(np.linalg.norm(plane))
    if not plane[1] > _LEAST_DOWN * length:
        return None
    return Scale(camera_height_m * length)


def road_ids(bundle: Bundle) -> tuple[int, ...]:
    """Class ids of the road's surface in the bundle's segmentation.

    Raises:
        InputError: the bundle has no such classes.
    """
    task = bundle.tasks.get(SEGMENTATION)
    names: Sequence[str] = task.class_names if isinstance(task, SegmentationTask) else ()
    found = tuple(i for i, name in enumerate(names) if name.lower().split("_")[0] == "road")
    if not found:
        raise InputError(
            f"{bundle.name} has no segmentation with a class of the road, which --scale "
            f"camera-height needs; its classes: {', '.join(names) or 'none'}"
        )
    return found
