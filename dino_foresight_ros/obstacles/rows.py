"""Obstacle points of several views or trajectories, so that all of them are worked on at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.thinning import thinned_indices


@dataclass(frozen=True, eq=False)
class PointRows:
    """Points of K rows, those of the first row first.

    Attributes:
        points: of all rows.
        starts: (K + 1,) where each row begins; at last, where the last one ends.
    """

    points: ObstaclePoints
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, parts: Sequence[ObstaclePoints]) -> PointRows:
        """A row per part."""
        ends = np.cumsum([len(part) for part in parts])
        return cls(ObstaclePoints.joined(parts), np.concatenate([[0], ends]).astype(np.intp))

    @classmethod
    def by_row(cls, points: ObstaclePoints, row: NDArray[np.intp], count: int) -> PointRows:
        """Points (N,) whose row (N,) rises, of `count` rows."""
        return cls(points, np.searchsorted(row, np.arange(count + 1)).astype(np.intp))

    @classmethod
    def joined(cls, several: Sequence[PointRows]) -> PointRows:
        """Row by row, the points of all of them."""
        if len(several) == 1:
            return several[0]
        row = np.concatenate([rows.row for rows in several])
        order = np.argsort(row, kind="stable")
        points = ObstaclePoints.joined([rows.points for rows in several]).where(order)
        return cls(points, np.sum([rows.starts for rows in several], axis=0))

    @classmethod
    def stacked(cls, several: Sequence[PointRows]) -> PointRows:
        """The rows of the first, then those of the second, and so on."""
        counts = np.concatenate([np.diff(rows.starts) for rows in several])
        points = ObstaclePoints.joined([rows.points for rows in several])
        return cls(points, np.concatenate([[0], np.cumsum(counts)]).astype(np.intp))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> ObstaclePoints:
        return self.points.where(slice(self.starts[row], self.starts[row + 1]))

    @cached_property
    def row(self) -> NDArray[np.intp]:
        """(N,) the row of each point."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def where(self, kept: NDArray[np.bool_]) -> PointRows:
        """Those of the points for which `kept` (N,) is true."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return PointRows(self.points.where(kept), before[self.starts].astype(np.intp))

    def taken(self, rows: NDArray[np.intp]) -> PointRows:
        """These rows (N,), in this order; one may be taken several times."""
        counts = np.diff(self.starts)[rows]
        ends = np.cumsum(counts)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
        points = self.points.where(np.repeat(self.starts[rows], counts) + within)
        return PointRows(points, np.concatenate([[0], ends]).astype(np.intp))

    def moved(self, poses: NDArray[np.float64]) -> PointRows:
        """As `ObstaclePoints.moved`, each row by its own pose (K, 3)."""
        x, y, yaw = (poses[:, k].astype(np.float32)[self.row] for k in range(3))
        cosine, sine = np.cos(yaw), np.sin(yaw)
        xyz = self.points.xyz.copy()
        xyz[:, 0] = cosine * self.points.xyz[:, 0] - sine * self.points.xyz[:, 1] + x
        xyz[:, 1] = sine * self.points.xyz[:, 0] + cosine * self.points.xyz[:, 1] + y
        points = ObstaclePoints(xyz, self.points.class_id, self.points.probability)
        return PointRows(points, self.starts)

    def thinned(self, cell_m: float, *, least: int = 1, kept: int = 3) -> PointRows:
        """As `thinning.thinned`, each row by itself."""
        indices = thinned_indices(self.points, self.row, cell_m, least=least, kept=kept)
        starts = np.searchsorted(indices, self.starts).astype(np.intp)
        return PointRows(self.points.where(indices), starts)

    def padded(self) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """x and y (K, most, 2), infinite beyond a row's end; and the points' numbers (K, most)."""
        counts = np.diff(self.starts)
        most = int(counts.max(initial=0))
        xy = np.full((len(self), most, 2), np.inf, np.float32)
        number = np.zeros((len(self), most), np.intp)
        every = np.arange(len(self.points))
        place = self.row, every - self.starts[self.row]
        xy[place], number[place] = self.points.xyz[:, :2], every
        return xy, number
