"""How far obstacles can be at most, by where they touch the ground in the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.obstacles.plane import GroundPlane

_SAME_SURFACE = 1.25
"""Depths of pixels above one another that differ by more are of two obstacles."""
FLAT_M = 0.3
"""What is less high is part of the ground, such as a kerb, and stands on nothing."""
_MARGIN, _MARGIN_M = 1.1, 0.3
"""An obstacle is drawn to its contact where it is so many times and metres farther: its upper parts
may lean back."""
_MOST_ROLL = 0.35
"""Of a camera's horizontal axis, the part along the vertical, above which columns do not stand."""

Maps = NDArray[np.float32]


def standing_depth(
    depth: Maps,
    ids: NDArray[np.generic],
    is_obstacle: NDArray[np.bool_],
    is_flat: NDArray[np.bool_],
    directions: Maps,
    base_from_optical: NDArray[np.float64],
    planes: Sequence[GroundPlane],
    range_m: float,
) -> Maps:
    """Depths of obstacles that stand no farther than where they touch the ground.

    No surface that is seen lies behind the ground in its own direction, and what is above it in a
    column of the picture and of the same obstacle stands over the same place (as stixels do,
    Badino et al. 2009). A depth that is read from features is too great where an obstacle covers
    little of a patch; its lowest pixel tells its place all the same.

    Args:
        depth: (K, H, W) metres along the optical axis of K views; NaN unknown.
        ids: (K, H, W) classes.
        is_obstacle: (K, H, W) whether a pixel is of a class that stands on the ground.
        is_flat: (K, H, W) whether it lies on the ground by its depth: it stays there, be it of a
            kerb, of a wrong class or of an obstacle's foot.
        directions: (H, W, 3) of the rays through the pixels in the base frame, 1 along the optical
            axis.
        base_from_optical: (4, 4) pose of the camera.
        planes: of the ground in each view, base frame.
        range_m: contacts with the ground farther than this, along the floor, tell nothing: a plane
            is no ground as far as that.

    Returns:
        (K, H, W), as `depth` or less; `depth` of a camera that is rolled onto its side.
    """
    is_upright = abs(base_from_optical[2, 0]) < _MOST_ROLL and base_from_optical[2, 1] < 0
    if not is_upright or range_m <= 0:
        return depth
    place = base_from_optical[:3, 3].astype(np.float32)
    floor_per_m = np.hypot(directions[..., 0], directions[..., 1])
    contact = np.stack([_floor_to(plane, directions, floor_per_m, place) for plane in planes])
    contact[~(contact <= np.float32(range_m))] = np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = depth[:, :-1] / depth[:, 1:]
    joined = np.zeros(depth.shape, bool)
    joined[:, :-1] = is_obstacle[:, :-1] & is_obstacle[:, 1:] & (ids[:, :-1] == ids[:, 1:])
    joined[:, :-1] &= (ratio < _SAME_SURFACE) & (ratio > 1 / _SAME_SURFACE)
    # The lowest row of each pixel's obstacle: the next one below that joins no further.
    rows = np.arange(depth.shape[1], dtype=np.intp)[None, :, None]
    ends = np.where(joined, depth.shape[1] - 1, rows)
    lowest = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    reach = np.take_along_axis(contact, lowest, axis=1)
    is_beyond = (
        is_obstacle & ~is_flat & (depth * floor_per_m > np.float32(_MARGIN) * reach + _MARGIN_M)
    )
    limited: Maps = np.where(is_beyond, reach / np.maximum(floor_per_m, 1e-6), depth)
    return limited


def _floor_to(plane: GroundPlane, directions: Maps, floor_per_m: Maps, place: Maps) -> Maps:
    """(H, W) metres along the floor from the camera to where each ray meets the ground."""
    normal = plane.normal
    falls = directions @ normal[:3]
    above = float(place @ normal[:3] - normal[3])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where((falls < 0) & (above > 0), -above / falls * floor_per_m, np.inf)
    return found.astype(np.float32)
