"""Occupancy grids around the robot, of one instant or of all instants until one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.view import GroundView

MAX_CELLS = 4000
"""Most cells along one side."""
UNKNOWN = -1
_SEEN_STRIDE = 2
"""Whether the ground is seen is asked for one of so many cells along each side."""

Cells = NDArray[np.int8]


@dataclass(frozen=True)
class GridSpec:
    """A grid around the robot, in its base frame or in another that lies level.

    Attributes:
        resolution_m: side of a cell.
        ahead_m, behind_m, aside_m: how far it reaches to the front, to the back, and to each side.
        base: x, y in metres and yaw in rad of the base in the grid's frame, whose axes the cells
            then have: a square that reaches as far as the longest of the three to every side, its
            corner at a whole number of cells. None: the grid's frame is the base frame.
    """

    resolution_m: float = 0.1
    ahead_m: float = 15.0
    behind_m: float = 5.0
    aside_m: float = 10.0
    base: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        sizes = (self.resolution_m, self.ahead_m + self.behind_m, self.aside_m)
        if not all(np.isfinite(size) and size > 0 for size in sizes):
            raise UsageError("a grid needs a resolution, a length and a width above 0")
        if max(self.shape) > MAX_CELLS:
            raise UsageError(
                f"the grid has {self.shape[1]}x{self.shape[0]} cells; at most {MAX_CELLS} a side: "
                "raise grid_resolution_m or lower the lengths"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns): along y and along x, as nav_msgs/OccupancyGrid has them."""
        if self.base is not None:
            side = max(1, round(2 * self._reach_m / self.resolution_m))
            return side, side
        long = round((self.ahead_m + self.behind_m) / self.resolution_m)
        wide = round(2 * self.aside_m / self.resolution_m)
        return max(1, wide), max(1, long)

    @property
    def origin(self) -> tuple[float, float]:
        """x and y in metres of the corner of cell (0, 0), in the grid's frame."""
        if self.base is None:
            return -self.behind_m, -self.aside_m
        x, y = (
            float(np.floor((place - self._reach_m) / self.resolution_m) * self.resolution_m)
            for place in self.base[:2]
        )
        return x, y

    @property
    def _reach_m(self) -> float:
        return max(self.ahead_m, self.behind_m, self.aside_m)

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """(N, 2) x and y, in the base frame, of the cells that are asked whether they are seen, row
        by row."""
        rows, columns = self.shape
        x = self.origin[0] + (np.arange(0, columns, _SEEN_STRIDE) + 1.0) * self.resolution_m
        y = self.origin[1] + (np.arange(0, rows, _SEEN_STRIDE) + 1.0) * self.resolution_m
        found: NDArray[np.float64] = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        if self.base is not None:
            cosine, sine = np.cos(self.base[2]), np.sin(self.base[2])
            found = (found - self.base[:2]) @ np.array([[cosine, -sine], [sine, cosine]])
        return found

    def occupancy(
        self, points: ObstaclePoints, views: Sequence[GroundView] = (), floor_m: float = 0.0
    ) -> Cells:
        """What is where at one instant.

        Args:
            points: obstacles, in the base frame.
            views: what cameras see then, same frame.
            floor_m: height of the floor in it.

        Returns:
            (rows, columns) int8: 100 x the probability of the most probable obstacle in the cell; 0
            where the ground is seen and free; -1 unknown.
        """
        rows, columns = self.shape
        cells = np.full((rows, columns), UNKNOWN, np.int8)
        if views:
            seen = np.zeros(len(self.centres), bool)
            for view in views:
                seen |= view.sees(self.centres, floor_m)
            coarse = seen.reshape(-(-rows // _SEEN_STRIDE), -(-columns // _SEEN_STRIDE))
            fine = coarse.repeat(_SEEN_STRIDE, 0).repeat(_SEEN_STRIDE, 1)[:rows, :columns]
            cells[fine] = 0
        if self.base is not None:
            points = points.moved(self.base)
        place = np.floor((points.xyz[:, :2] - self.origin) / self.resolution_m).astype(np.intp)
        inside = ((place >= 0) & (place < (columns, rows))).all(axis=1)
        values = np.rint(100 * points.probability[inside]).astype(np.int8)
        np.maximum.at(cells.reshape(-1), place[inside, 1] * columns + place[inside, 0], values)
        return cells


def smeared(grids: Sequence[Cells]) -> Cells:
    """The probability (rows, columns) that a cell is occupied at any of the instants.

    The greatest of each cell, since the instants see the same things; a cell is unknown where it is
    at all of them.
    """
    found: Cells = np.maximum.reduce(list(grids))
    return found
