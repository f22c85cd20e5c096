"""The outline of a robot on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import UsageError

_CELLS = 12
"""The footprint is looked at by so many places along its longer side."""

Array = NDArray[np.float64]


class Footprint:
    """The outline of a robot in its base frame."""

    def __init__(self, polygon: Sequence[Sequence[float]] | Array, padding_m: float = 0.0) -> None:
        """Take corners (M, 2) in metres, in order around the outline; convex or not.

        Args:
            padding_m: places so near to the outline count as within.

        Raises:
            UsageError: fewer than 3 corners, none of finite numbers, or no area.
        """
        corners = np.asarray(polygon, np.float64)
        if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3:
            raise UsageError("the footprint needs 3 or more corners of x and y in metres")
        if not np.isfinite(corners).all() or not padding_m >= 0:
            raise UsageError("the footprint has a corner or a padding that is not a number")
        after = np.roll(corners, -1, axis=0)
        area = 0.5 * float((corners[:, 0] * after[:, 1] - after[:, 0] * corners[:, 1]).sum())
        if abs(area) < 1e-6:
            raise UsageError("the footprint has no area: give its corners in order around it")
        self.corners = corners
        self.padding_m = float(padding_m)

    @classmethod
    def circle(cls, radius_m: float, padding_m: float = 0.0) -> Footprint:
        """A round robot, as a polygon of 24 corners around the circle."""
        if not (np.isfinite(radius_m) and radius_m > 0):
            raise UsageError(f"the robot's radius is {radius_m:g} m; it must be above 0")
        angles = np.arange(24) * np.pi / 12
        outside = radius_m / np.cos(np.pi / 24)
        return cls(outside * np.column_stack([np.cos(angles), np.sin(angles)]), padding_m)

    @cached_property
    def radius_m(self) -> float:
        """Distance of the farthest corner from the base's origin, with the padding."""
        return float(np.linalg.norm(self.corners, axis=1).max()) + self.padding_m

    @cached_property
    def inner_radius_m(self) -> float:
        """Distance from the base's origin to the outline, with the padding; less where it is
        outside."""
        origin = np.zeros((1, 2))
        start, along = self.corners, np.roll(self.corners, -1, axis=0) - self.corners
        fraction = np.clip(-(start * along).sum(1) / (along**2).sum(1).clip(1e-12), 0, 1)
        to_outline = float(np.linalg.norm(start + fraction[:, None] * along, axis=1).min())
        is_inside = bool(Footprint(self.corners).contains(origin)[0])
        return (to_outline if is_inside else -to_outline) + self.padding_m

    def contains(self, places: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether places (N, 2) in the base frame are within, or at most the padding off."""
        return self.distance(places) <= 0

    def distance(self, places: NDArray[np.floating]) -> NDArray[np.float64]:
        """Metres (N,) from places (N, 2) to the padded outline; 0 within."""
        places = np.asarray(places, np.float64)
        start, end = self.corners, np.roll(self.corners, -1, axis=0)
        along = end - start
        offset = places[:, None] - start
        fraction = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        nearest = offset - np.clip(fraction, 0, 1)[..., None] * along
        off = np.sqrt((nearest**2).sum(-1)).min(1)
        # A ray to the right crosses the outline an odd number of times from within.
        y = places[:, 1, None]
        spans = (start[:, 1] > y) != (end[:, 1] > y)
        rise = np.where(along[:, 1] == 0, 1.0, along[:, 1])
        crossing = start[:, 0] + (y - start[:, 1]) / rise * along[:, 0]
        inside = (spans & (places[:, 0, None] < crossing)).sum(1) % 2 == 1
        off[inside] = 0
        return np.maximum(off - self.padding_m, 0.0)

    @cached_property
    def cells(self) -> Array:
        """(N, 2) places that are spread evenly over it, for fractions of its area."""
        low, high = self.corners.min(0), self.corners.max(0)
        spacing = float((high - low).max()) / _CELLS
        axes = [np.arange(a + spacing / 2, b, spacing) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        inside = grid[Footprint(self.corners).contains(grid)]
        return inside if len(inside) else self.corners.mean(0, keepdims=True)
