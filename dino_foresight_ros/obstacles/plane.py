"""The plane of the ground, fitted to points of a view in the base frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

FIT_RANGE_M = 25.0
"""Points nearer than this, along the floor, tell the plane."""
MIN_POINTS = 40
_MAX_POINTS = 1000
MAX_TELLING = 4 * _MAX_POINTS
"""More points than so many of a view tell no more of its plane."""
_GATE_M, _GATE_PER_M = 0.4, 0.12
"""Points so far above or below the floor of the base frame, and so much more per metre of distance,
can be ground: a slope of 7 degrees."""
_ROUNDS = 5
_LEAST_SCALE_M = 0.02
_TUKEY = 4.685
"""Residuals of so many standard deviations count nothing (Tukey's biweight, 95 % efficiency)."""
_PRIOR_SLOPE, _PRIOR_HEIGHT_M, _PRIOR_POINTS = 0.05, 0.15, 4.0

Points = NDArray[np.float32]


@dataclass(frozen=True)
class GroundPlane:
    """z = slope_x x + slope_y y + height in the base frame (x forward, y left, z up), metres.

    Attributes:
        is_fitted: whether points told it; otherwise it is the floor of the base frame.
    """

    slope_x: float = 0.0
    slope_y: float = 0.0
    height_m: float = 0.0
    is_fitted: bool = False

    @property
    def tilt_deg(self) -> float:
        """Angle to the floor of the base frame."""
        return float(np.degrees(np.arctan(np.hypot(self.slope_x, self.slope_y))))

    @property
    def normal(self) -> NDArray[np.float32]:
        """(4,) the unit normal, and the plane's distance from the origin along it."""
        found = np.array([-self.slope_x, -self.slope_y, 1.0, self.height_m], np.float32)
        return found / np.float32(np.linalg.norm(found[:3]))

    def scale_to_floor(self, place: NDArray[np.float32], floor_m: float) -> float:
        """The factor of all depths with which the ground lies where the base frame has the floor.

        The scale of a depth that is read from one picture is a guess; the height of the camera
        tells it (as in visual odometry, Song and Chandraker 2014).

        Args:
            place: (3,) of the camera.
            floor_m: height of the floor in the base frame, below its origin.

        Returns:
            The factor; NaN where no ground was fitted, or it or the floor lies above the camera.
        """
        normal = self.normal
        seen = float(place @ normal[:3] - normal[3])
        true = float(place @ normal[:3] - normal[2] * np.float32(floor_m))
        is_above = min(seen, true) > 0.0
        return true / seen if self.is_fitted and is_above else float("nan")

    def on_floor(self, floor_m: float) -> GroundPlane:
        """The plane with the same tilt through the floor below the origin."""
        return replace(self, height_m=floor_m)


def fit_grounds(
    xyz: Points, row: NDArray[np.intp], count: int, floor_m: float, max_tilt_deg: float
) -> list[GroundPlane]:
    """Fit the ground of each row by least squares in which points off the plane lose their weight.

    Args:
        xyz: (N, 3) points that may be ground, base frame.
        row: (N,) rising, 0 to `count` - 1: the view that each point is of.
        count: of the rows.
        floor_m: height of the floor in the base frame, where the search begins.
        max_tilt_deg: a plane that leans more is not believed.

    Returns:
        The plane of each row, or the floor where too few points are near it or they lean too much.
    """
    floor = GroundPlane(height_m=floor_m)
    reach = np.hypot(xyz[:, 0], xyz[:, 1])
    off = np.abs(xyz[:, 2] - np.float32(floor_m))
    near = np.flatnonzero((reach < FIT_RANGE_M) & (off < _GATE_M + _GATE_PER_M * reach))
    told = near[at_most(_MAX_POINTS, row[near], count)]
    xyz, row = np.take(xyz, told, axis=0), row[told]
    counts = np.bincount(row, minlength=count)
    fitted = np.flatnonzero(counts >= MIN_POINTS)
    planes = [floor] * count
    if not len(fitted):
        return planes
    # Rows as long as the longest one; weights of what is beyond a row's own end are 0.
    counts = counts[fitted]
    is_point = np.arange(counts.max()) < counts[:, None]
    design, height = np.zeros((*is_point.shape, 3)), np.zeros(is_point.shape)
    is_fitted = np.zeros(count, bool)
    is_fitted[fitted] = True
    chosen = xyz[is_fitted[row]]
    design[is_point, :2], design[is_point, 2] = chosen[:, :2], 1.0
    height[is_point] = chosen[:, 2] - floor_m
    middle = np.stack([(counts - 1) // 2, counts // 2], axis=1)
    found = np.zeros((len(fitted), 3))
    # A weak belief in the floor decides what the points leave open, such as a slope to the side of
    # a view straight along a wall.
    belief = _PRIOR_POINTS / np.array([_PRIOR_SLOPE, _PRIOR_SLOPE, _PRIOR_HEIGHT_M]) ** 2
    for _ in range(_ROUNDS):
        residual = height - (design @ found[:, :, None])[..., 0]
        ranked = np.sort(np.where(is_point, np.abs(residual), np.inf), axis=1)
        median = np.take_along_axis(ranked, middle, axis=1).mean(axis=1)
        scale = np.maximum(1.4826 * median, _LEAST_SCALE_M)[:, None]
        weights = np.maximum(1 - (residual / (_TUKEY * scale)) ** 2, 0) ** 2
        weighted = np.swapaxes(design * (weights / scale**2 * is_point)[..., None], 1, 2)
        found = np.linalg.solve(weighted @ design + np.diag(belief), weighted @ height[..., None])[
            ..., 0
        ]
    for place, (slope_x, slope_y, offset_m) in zip(fitted, found.tolist(), strict=True):
        plane = GroundPlane(slope_x, slope_y, floor_m + offset_m, True)
        if plane.tilt_deg <= max_tilt_deg:
            planes[place] = plane
    return planes


def at_most(most: int, row: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Indices of every so many-th point of each row (N,), so that about `most` are left."""
    ends = np.searchsorted(row, np.arange(count + 1)).tolist()
    return np.concatenate([np.arange(a, b, max(1, (b - a) // most)) for a, b in pairwise(ends)])
