"""Thins obstacle points to a few of each cell of the ground, before a footprint is swept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.obstacles.cloud import ObstaclePoints

CELL_M = 0.25
_FINEST_CELL_M, _CELL_OF_RADIUS = 0.05, 0.08
_OFFSET = 1 << 20
"""Of the cells' numbers, so that they are above 0: 50 km at the finest."""


def cell_of(radius_m: float) -> float:
    """Side of the cells, metres, for a footprint of this radius: small beside it."""
    return float(np.clip(_CELL_OF_RADIUS * radius_m, _FINEST_CELL_M, CELL_M))


def thinned(
    points: ObstaclePoints, cell_m: float = CELL_M, *, least: int = 1, kept: int = 3
) -> ObstaclePoints:
    """The `kept` most probable points of each square cell of the ground that has `least` of them.

    A sweep that asks for `min_points` points finds the same as without thinning, to within a cell,
    as long as `kept` is not below `min_points`: in an area of whole cells the most probable points
    are the same.
    """
    rows = np.zeros(len(points), np.intp)
    return points.where(thinned_indices(points, rows, cell_m, least=least, kept=kept))


def thinned_indices(
    points: ObstaclePoints, rows: NDArray[np.intp], cell_m: float, *, least: int = 1, kept: int = 3
) -> NDArray[np.intp]:
    """Rising indices of the points that `thinned` keeps, of each row (N,) by itself."""
    column, line = (np.floor(points.xyz[:, :2] / np.float32(cell_m)).astype(np.int64) + _OFFSET).T
    cell = (rows.astype(np.int64) << 42) + (column << 21) + line
    order = np.lexsort((-points.probability, cell))
    cell = cell[order]
    is_first = np.append(True, cell[1:] != cell[:-1])[: len(cell)]
    first = np.flatnonzero(is_first)
    counts = np.diff(np.append(first, len(cell)))
    rank = np.arange(len(cell)) - np.repeat(first, counts)
    return np.sort(order[(rank < kept) & np.repeat(counts >= least, counts)])
