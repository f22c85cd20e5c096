"""A robot's footprint swept along a way through the obstacles of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles.points import ObstaclePoints
from dino_foresight_ros.obstacles.view import GroundView

STEP_M = 0.2
"""The footprint is set down so often along the way."""
MAX_SETTINGS = 64
"""Most times that it is set down between two horizons."""
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
        self.area_m2 = abs(area)

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
        share = np.clip(-(start * along).sum(1) / (along**2).sum(1).clip(1e-12), 0, 1)
        to_outline = float(np.linalg.norm(start + share[:, None] * along, axis=1).min())
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
        share = (offset * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-12)
        nearest = offset - np.clip(share, 0, 1)[..., None] * along
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
        """(N, 2) places that are spread evenly over it, for shares of its area."""
        low, high = self.corners.min(0), self.corners.max(0)
        spacing = float((high - low).max()) / _CELLS
        axes = [np.arange(a + spacing / 2, b, spacing) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        inside = grid[Footprint(self.corners).contains(grid)]
        return inside if len(inside) else self.corners.mean(0, keepdims=True)


@dataclass(frozen=True)
class SweptStep:
    """What the footprint meets until one horizon.

    Attributes:
        probability_occupied: that it meets something until then, 0 to 1; NaN where the way is
            unknown.
        least_distance_m: from it to the nearest obstacle until then; infinity without any.
        class_id: of what is met, or else nearest; 255 without any.
        unknown: share of the swept area that no camera sees until then, 0 to 1; NaN where no views
            were given.
    """

    probability_occupied: float
    least_distance_m: float
    class_id: int
    unknown: float


@dataclass(frozen=True)
class Sweep:
    """What the footprint meets on a way.

    Attributes:
        steps: one per horizon, each of all that is before it too.
        time_to_contact_s: from now to the first contact; infinity without one.
        distance_m: along the way to it; infinity without one.
        class_id: of what is met, 255 without contact.
        probability: of what is met, 0 without contact.
    """

    steps: tuple[SweptStep, ...]
    time_to_contact_s: float = float("inf")
    distance_m: float = float("inf")
    class_id: int = UNLABELLED
    probability: float = 0.0

    @property
    def contact(self) -> bool:
        """Whether something is met."""
        return bool(np.isfinite(self.time_to_contact_s))


@dataclass
class _SoFar:
    """What was met until an instant."""

    probability: float = 0.0
    least_m: float = float("inf")
    class_id: int = UNLABELLED
    unknown: int = 0
    places: int = 0


def sweep(
    points: Sequence[ObstaclePoints],
    poses: Array,
    footprint: Footprint,
    horizons_s: Sequence[float],
    *,
    contact_probability: float = 0.5,
    min_points: int = 3,
    views: Sequence[Sequence[GroundView]] = (),
    step_m: float = STEP_M,
) -> Sweep:
    """Set the footprint down along a way, each time among the obstacles of the nearest horizon.

    The base starts at time 0 at (0, 0, 0), or at the pose of a horizon of 0, and moves evenly from
    pose to pose. The probability of a
    contact is that of the `min_points`-th most probable point within the footprint, so that a
    single pixel is none; that of several instants is the greatest, since they meet the same things.

    Args:
        points: of each of S horizons, all in the frame of the poses, the base of now; the first may
            be of the present (horizon 0).
        poses: (S, 3) x, y in metres and yaw in rad of the base at the horizons; NaN unknown, and so
            is all after.
        footprint: in the base frame.
        horizons_s: (S,) seconds from now, rising, from 0 on.
        contact_probability: from this on something counts as met.
        min_points: so many points make an obstacle.
        views: per horizon what cameras see of the ground then, same frame; without them the unknown
            share is NaN. What was seen at an earlier horizon stays known.
        step_m: the footprint is set down so often along the way.

    Raises:
        UsageError: numbers of points, poses, horizons and views differ, or horizons do not rise.
    """
    poses = np.asarray(poses, np.float64).reshape(-1, 3)
    times = [float(h) for h in horizons_s]
    if not len(points) == len(poses) == len(times) or len(views) not in (0, len(times)):
        raise UsageError(
            f"a sweep of {len(times)} horizons got points of {len(points)}, {len(poses)} poses and "
            f"views of {len(views)}"
        )
    if any(not b > a for a, b in pairwise(times)) or (times and not times[0] >= 0):
        raise UsageError(f"horizons are {times}; they must rise from 0 on")
    reach_m = footprint.radius_m
    so_far, steps = _SoFar(), []
    contact: tuple[float, float, int, float] | None = None
    previous, previous_s, walked_m = np.zeros(3), 0.0, 0.0
    for row, (pose, time_s) in enumerate(zip(poses, times, strict=True)):
        if not np.isfinite(pose).all():
            unknown = SweptStep(float("nan"), float("nan"), UNLABELLED, float("nan"))
            steps += [unknown] * (len(times) - row)
            break
        if row == 0 and time_s == 0:
            previous = pose
        turn = (pose[2] - previous[2] + np.pi) % (2 * np.pi) - np.pi
        move = np.array([*(pose[:2] - previous[:2]), turn])
        length_m = float(np.hypot(*move[:2]))
        count = int(np.clip(np.ceil((length_m + abs(turn) * reach_m) / step_m), 1, MAX_SETTINGS))
        first = 0 if row == 0 and time_s > 0 else 1  # the start itself, once
        for k in range(first, count + 1):
            share = k / count
            # Before the first horizon nothing else is known than what is known of it.
            around = points[row] if share >= 0.5 or row == 0 else points[row - 1]
            met = _set_down(around, previous + share * move, footprint, min_points, so_far)
            if met is not None and contact is None and met[1] >= contact_probability:
                when_s = previous_s + share * (time_s - previous_s)
                contact = (when_s, walked_m + share * length_m, *met)
            if views:
                _look(views[: row + 1], previous + share * move, footprint, so_far)
        previous, previous_s, walked_m = pose, time_s, walked_m + length_m
        unseen = so_far.unknown / so_far.places if so_far.places else float("nan")
        steps.append(SweptStep(so_far.probability, so_far.least_m, so_far.class_id, unseen))
    return Sweep(tuple(steps), *contact) if contact is not None else Sweep(tuple(steps))


def _set_down(
    around: ObstaclePoints, pose: Array, footprint: Footprint, min_points: int, so_far: _SoFar
) -> tuple[int, float] | None:
    """Class and probability of what is met at a pose, None without; told to `so_far` too."""
    if len(around) < min_points:
        return None
    offset = around.xyz[:, :2] - pose[:2].astype(np.float32)
    away = np.hypot(offset[:, 0], offset[:, 1])
    # Those within, and the nearest to the outline, are among these: a point is at least as far from
    # it as from the circle around it, and at most as far as from the circle within.
    kth = float(np.partition(away, min_points - 1)[min_points - 1])
    reach_m = footprint.radius_m + max(kth - footprint.inner_radius_m, 0.0)
    near = np.flatnonzero(away <= reach_m + 1e-4)
    cosine, sine = np.cos(pose[2]), np.sin(pose[2])
    places = offset[near].astype(np.float64) @ np.array([[cosine, -sine], [sine, cosine]])
    off = footprint.distance(places)
    order = np.argsort(off, kind="stable")[:min_points]
    least_m = float(off[order[-1]])
    if least_m < so_far.least_m and so_far.probability == 0.0:
        so_far.class_id = _usual(around.class_id[near[order]])
    so_far.least_m = min(so_far.least_m, least_m)
    inside = near[off <= 0]
    if len(inside) < min_points:
        return None
    likely = inside[np.argsort(-around.probability[inside], kind="stable")[:min_points]]
    probability = float(around.probability[likely[-1]])
    class_id = _usual(around.class_id[likely])
    if probability > so_far.probability:
        so_far.probability, so_far.class_id = probability, class_id
    return class_id, probability


def _look(
    views: Sequence[Sequence[GroundView]], pose: Array, footprint: Footprint, so_far: _SoFar
) -> None:
    cosine, sine = np.cos(pose[2]), np.sin(pose[2])
    places = footprint.cells @ np.array([[cosine, sine], [-sine, cosine]]) + pose[:2]
    unseen = places
    for view in (view for row in views for view in row):
        unseen = unseen[~view.sees(unseen)]
        if not len(unseen):
            break
    so_far.places += len(places)
    so_far.unknown += len(unseen)


def _usual(ids: NDArray[np.uint8]) -> int:
    return int(np.bincount(ids).argmax())
