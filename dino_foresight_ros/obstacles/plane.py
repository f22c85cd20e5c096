"""The plane of the ground, fitted to points of a view in the base frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIT_RANGE_M = 25.0
"""Points nearer than this, along the floor, tell the plane."""
MIN_POINTS = 40
_MAX_POINTS = 1000
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

    def above(self, xyz: Points) -> NDArray[np.float32]:
        """Heights (...) of points (..., 3) above the plane, metres."""
        normal = np.array([-self.slope_x, -self.slope_y, 1.0], np.float32)
        length = np.float32(np.linalg.norm(normal))
        found: NDArray[np.float32] = (xyz @ (normal / length)) - np.float32(self.height_m / length)
        return found


def fit_ground(xyz: Points, floor_m: float, max_tilt_deg: float) -> GroundPlane:
    """Fit the ground by least squares in which points off the plane lose their weight.

    Args:
        xyz: (N, 3) points that may be ground, base frame.
        floor_m: height of the floor in the base frame, where the search begins.
        max_tilt_deg: a plane that leans more is not believed.

    Returns:
        The plane, or the floor where too few points are near it or they lean too much.
    """
    floor = GroundPlane(height_m=floor_m)
    xyz = xyz[:: max(1, len(xyz) // (4 * _MAX_POINTS))]
    reach = np.hypot(xyz[:, 0], xyz[:, 1])
    off = np.abs(xyz[:, 2] - np.float32(floor_m))
    near = (reach < FIT_RANGE_M) & (off < _GATE_M + _GATE_PER_M * reach)
    points = xyz[near].astype(np.float64)
    points = points[:: max(1, len(points) // _MAX_POINTS)]
    if len(points) < MIN_POINTS:
        return floor
    design = np.column_stack([points[:, :2], np.ones(len(points))])
    height = points[:, 2] - floor_m
    weights = np.ones(len(points))
    found = np.zeros(3)
    # A weak belief in the floor decides what the points leave open, such as a slope to the side of
    # a view straight along a wall.
    belief = _PRIOR_POINTS / np.array([_PRIOR_SLOPE, _PRIOR_SLOPE, _PRIOR_HEIGHT_M]) ** 2
    for _ in range(_ROUNDS):
        residual = height - design @ found
        scale = max(1.4826 * float(np.median(np.abs(residual))), _LEAST_SCALE_M)
        weights = np.clip(1 - (residual / (_TUKEY * scale)) ** 2, 0, None) ** 2
        weighted = design * (weights / scale**2)[:, None]
        found = np.linalg.solve(weighted.T @ design + np.diag(belief), weighted.T @ height)
    plane = GroundPlane(float(found[0]), float(found[1]), floor_m + float(found[2]), True)
    return floor if plane.tilt_deg > max_tilt_deg else plane
