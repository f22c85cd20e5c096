"""Projected lidar points as a sparse map: one point per cell, hidden points left out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.opencv import cv2

Size = tuple[int, int]
NEARER = 0.8
"""A point hides another where its depth is below this fraction of the other's: an error that is
smaller leaves delta1 alone (1 / 0.8 = 1.25)."""
_THICKNESS = 6
"""Strips are one cell thicker to either side for so many cells of length; those above and below
at least one cell, since beams lie closer side by side than above one another."""
_NOTHING = np.float32(3e38)


def nearest_in_cells(
    places: NDArray[np.float64], depth_m: NDArray[np.float64], cells: Size, low_m: float,
    high_m: float,
) -> NDArray[np.float32]:  # fmt: skip
    """Keep the nearest point of each cell.

    Args:
        places: (N, 2) fractions of the picture's width and height; outside 0 to 1, or NaN, not
            seen.
        depth_m: (N,) along the optical axis.
        cells: (H, W) of the map.
        low_m, high_m: points outside of these depths are left out, and hide nothing.

    Returns:
        (H, W) metres, NaN where no point falls.
    """
    points = nearest_points(places, depth_m, cells, low_m, high_m)
    found = np.full(cells, np.nan, np.float32)
    found[points >= 0] = depth_m[points[points >= 0]]
    return found


def nearest_points(
    places: NDArray[np.float64], depth_m: NDArray[np.float64], cells: Size, low_m: float,
    high_m: float,
) -> NDArray[np.int64]:  # fmt: skip
    """Find the nearest point of each cell; arguments as of `nearest_in_cells`.

    Returns:
        (H, W) numbers of points, -1 where no point falls.
    """
    height, width = cells
    with np.errstate(invalid="ignore"):
        seen = ((places >= 0) & (places < 1)).all(axis=1) & (depth_m >= low_m) & (depth_m <= high_m)
    # Far ones first: of several in a cell the last one, the nearest, stays.
    order = np.flatnonzero(seen)
    order = order[np.argsort(-depth_m[order], kind="stable")]
    columns = np.minimum((places[order, 0] * width).astype(np.int64), width - 1)
    rows = np.minimum((places[order, 1] * height).astype(np.int64), height - 1)
    found = np.full(height * width, -1, np.int64)
    found[rows * width + columns] = order
    return found.reshape(cells)


def reach_cells(angle_deg: float, focal_fractions: tuple[float, float], cells: Size) -> Size:
    """Cells, down and across, that an angle spans in the middle of the picture; at least 1."""
    span = math.tan(math.radians(angle_deg))
    across, down = focal_fractions
    return max(math.ceil(span * down * cells[0]), 1), max(math.ceil(span * across * cells[1]), 1)


def hidden_cells(metres: NDArray[np.float32], reach: Size) -> NDArray[np.bool_]:
    """Find points that the lidar sees past something that stands before them in the picture.

    Lidar and camera look from different places. A point is hidden where nearer ones lie within
    reach on two opposite sides of it, above and below or left and right: between the beams that
    hit the nearer thing. One side alone is an edge, or a road that comes closer.

    Args:
        metres: (H, W), NaN unknown.
        reach: cells down and across, more than lie between two beams.

    Returns:
        (H, W), True for points to leave out.
    """
    known = np.where(np.isfinite(metres), metres, _NOTHING).astype(np.float32)
    down, across = reach
    behind = np.float32(NEARER) * known
    hidden = np.zeros(metres.shape, np.bool_)
    for length, is_column in ((down, True), (across, False)):
        sides = [_nearest(known, length, is_column, forward) for forward in (False, True)]
        hidden |= (sides[0] < behind) & (sides[1] < behind)
    result: NDArray[np.bool_] = hidden & np.isfinite(metres)
    return result


def _nearest(
    known: NDArray[np.float32], length: int, is_column: bool, forward: bool
) -> NDArray[np.float32]:
    """The nearest depth in the strip of `length` cells that begins beside each cell."""
    half = max(length // _THICKNESS, int(is_column))
    kernel = np.ones((length + 1, 2 * half + 1), np.uint8)
    own = 0 if forward else length
    kernel[own] = 0  # the cell's own row
    anchor = (half, own)
    if not is_column:
        kernel, anchor = np.ascontiguousarray(kernel.T), (own, half)
    found: NDArray[np.float32] = cv2.erode(
        known, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT, borderValue=float(_NOTHING)
    )
    return found
