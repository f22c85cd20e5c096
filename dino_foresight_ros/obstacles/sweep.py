"""A robot's footprint swept along trajectories through the obstacles of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.footprint import Footprint
from dino_foresight_ros.obstacles.rows import PointRows
from dino_foresight_ros.obstacles.view import GroundView, GroundViews
from dino_foresight_ros.planar_motion import compose, inverse, of_twist, twist_of

MIN_POINTS = 3
"""So many points make an obstacle: a single pixel is none."""
STEP_M = 0.2
"""The footprint is set down so often along the trajectory."""
MAX_SETTINGS = 64
"""Most times that it is set down between two horizons."""
_TRAJECTORIES_AT_ONCE = 64
_PAIRS_AT_ONCE = 2**21
"""Distances from settings to points that are held at once: 8 MB each array of float32."""

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class SweptStep:
    """What the footprint meets until one horizon.

    Attributes:
        probability_occupied: that it meets something until then, 0 to 1; NaN where the trajectory
            is unknown.
        least_distance_m: from it to the nearest obstacle until then; infinity without any.
        class_id: of what is met, or else nearest; 255 without any.
        unknown: fraction of the swept area that no camera sees until then, 0 to 1; NaN where no
            views were given.
    """

    probability_occupied: float
    least_distance_m: float
    class_id: int
    unknown: float


@dataclass(frozen=True)
class Sweep:
    """What the footprint meets on a trajectory.

    Attributes:
        steps: one per horizon, each of all that is before it too.
        time_to_contact_s: from now to the first contact; infinity without one.
        distance_m: along the trajectory to it; infinity without one.
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


class _Settings(NamedTuple):
    """Where and when the footprint is set down on some trajectories, one after the other.

    Attributes:
        trajectory, leg: (T,) which trajectory; the horizon that the trajectory leads to there.
        pose: (T, 3) of the base.
        around: (T,) the horizon whose points are around it.
        time_s: (T,) from now.
        walked_m: (T,) along the trajectory.
        legs: (K, S) how many there are on each leg.
    """

    trajectory: Indices
    leg: Indices
    pose: Array
    around: Indices
    time_s: Array
    walked_m: Array
    legs: Indices


class _Met(NamedTuple):
    """What the footprint meets where it is set down.

    Attributes:
        least_m: (T,) to the `min_points`-th nearest point; infinity without.
        nearest: (T,) class of these points.
        probability: (T,) of what is met; -1 where nothing is.
        met: (T,) its class.
    """

    least_m: Array
    nearest: NDArray[np.uint8]
    probability: Array
    met: NDArray[np.uint8]


def sweep(
    points: Sequence[ObstaclePoints],
    poses: Array,
    footprint: Footprint,
    horizons_s: Sequence[float],
    *,
    contact_probability: float = 0.5,
    min_points: int = MIN_POINTS,
    views: Sequence[Sequence[GroundView]] = (),
    step_m: float = STEP_M,
) -> Sweep:
    """Set the footprint down along a trajectory, each time amid obstacles of the nearest horizon.

    The base starts at time 0 at (0, 0, 0), or at the pose of a horizon of 0, and moves from pose to
    pose on arcs, evenly. The probability of a contact is that of the `min_points`-th most probable
    point within the footprint, so that a single pixel is none; that of several instants is the
    greatest, since they meet the same things.

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
            fraction is NaN. What was seen at an earlier horizon stays known.
        step_m: the footprint is set down so often along the trajectory.

    Raises:
        UsageError: numbers of points, poses, horizons and views differ, or horizons do not rise.
    """
    return sweep_trajectories(
        [PointRows.of([some]) for some in points],
        np.asarray(poses, np.float64).reshape(1, -1, 3),
        footprint,
        horizons_s,
        contact_probability=contact_probability,
        min_points=min_points,
        views=[[view.alone() for view in row] for row in views],
        step_m=step_m,
    )[0]


def sweep_trajectories(
    points: Sequence[PointRows],
    poses: Array,
    footprint: Footprint,
    horizons_s: Sequence[float],
    *,
    contact_probability: float = 0.5,
    min_points: int = MIN_POINTS,
    views: Sequence[Sequence[GroundViews]] = (),
    step_m: float = STEP_M,
    rows: Indices | None = None,
    times_s: Sequence[float] | None = None,
) -> list[Sweep]:
    """As `sweep`, of K trajectories at once.

    Args:
        points: of each horizon, a row for every trajectory.
        poses: (K, T, 3) at `times_s`.
        footprint, horizons_s, contact_probability, min_points, step_m: as for `sweep`.
        views: per horizon and camera.
        rows: (K,) which row of points and views is each trajectory's, where some share them.
        times_s: (T,) rising seconds, the last horizon the last and all others among them, where the
            trajectories are known at more instants than what is around; the horizons when None. The
            base turns by less than half a turn from one to the next.
    """
    poses = np.asarray(poses, np.float64)
    horizons = np.array([float(h) for h in horizons_s])
    times = horizons if times_s is None else np.array([float(t) for t in times_s])
    if not (len(points) == len(horizons) and poses.shape[1] == len(times)) or len(views) not in (
        0,
        len(horizons),
    ):
        raise UsageError(
            f"a sweep of {len(horizons)} horizons got points of {len(points)}, {poses.shape[1]} "
            f"poses and views of {len(views)}"
        )
    for name, rising in (("horizons", horizons), ("times", times)):
        if any(not b > a for a, b in pairwise(rising)) or (len(rising) and not rising[0] >= 0):
            raise UsageError(f"{name} are {rising.tolist()}; they must rise from 0 on")
    if not np.isin(horizons, times).all() or (len(times) and times[-1] != horizons[-1]):
        raise UsageError(f"times {times.tolist()} do not hold all horizons {horizons.tolist()}")
    every = np.arange(len(poses)) if rows is None else np.asarray(rows, np.intp)
    found: list[Sweep] = []
    for start in range(0, len(poses), _TRAJECTORIES_AT_ONCE):
        some = slice(start, start + _TRAJECTORIES_AT_ONCE)
        settings = _settings(poses[some], times, horizons, footprint.radius_m, step_m)
        row = every[some][settings.trajectory]
        met = _set_down(points, row, settings, footprint, min_points)
        unseen = _look(views, row, settings, footprint) if views else None
        found += _swept(settings, met, unseen, contact_probability)
    return found


def _settings(
    poses: Array, times: Array, horizons: Array, reach_m: float, step_m: float
) -> _Settings:
    """Where the footprint is set down: evenly from horizon to horizon, as far as they are known."""
    trajectories, instants = poses.shape[:2]
    starts_now = instants > 0 and times[0] == 0
    is_known = np.cumprod(np.isfinite(poses).all(axis=2), axis=1).astype(bool)
    poses = np.where(is_known[..., None], poses, 0.0)
    first = poses[:, :1] if starts_now else np.zeros((trajectories, min(instants, 1), 3))
    before = np.concatenate([first, poses[:, :-1]], axis=1)
    pieces = np.where(is_known[..., None], twist_of(compose(inverse(before), poses)), 0.0)
    length_m = np.hypot(pieces[..., 0], pieces[..., 1])
    swung_m = length_m + np.abs(pieces[..., 2]) * reach_m
    ends = np.searchsorted(times, horizons)
    starts = np.append(0, ends + 1)[: len(ends)]
    leg_m = np.add.reduceat(swung_m, starts, axis=1) if len(ends) else swung_m
    steps = np.clip(np.ceil(leg_m / step_m - 1e-9), 1, MAX_SETTINGS).astype(np.intp)
    from_start = np.zeros_like(steps)  # the start itself, once
    from_start[:, :1] = not starts_now
    legs = np.where(is_known[:, ends], steps + from_start, 0)
    leg_of = np.repeat(np.arange(legs.size), legs.ravel())
    trajectory, leg = np.divmod(leg_of, max(len(ends), 1))
    rank = np.arange(len(leg_of)) - (np.cumsum(legs) - legs.ravel())[leg_of]
    fraction = (rank + 1 - from_start[trajectory, leg]) / steps[trajectory, leg]
    piece, part = _pieces(swung_m, leg_m, starts, ends, trajectory, leg, fraction)
    before_s = np.append(0.0, times)[:-1]
    time_s = before_s[piece] + part * (times - before_s)[piece]
    leg_s = before_s[starts]
    in_time = fraction
    if len(times) > len(ends):
        in_time = (time_s - leg_s[leg]) / np.maximum(horizons - leg_s, 1e-9)[leg]
    walked_m = np.cumsum(length_m, axis=1) - length_m
    return _Settings(
        trajectory,
        leg,
        compose(before[trajectory, piece], of_twist(pieces[trajectory, piece], part)),
        # Before the first horizon nothing else is known than what is known of it.
        np.where((in_time >= 0.5 - 1e-9) | (leg == 0), leg, leg - 1),
        time_s,
        walked_m[trajectory, piece] + part * length_m[trajectory, piece],
        legs,
    )


def _pieces(
    swung_m: Array,
    leg_m: Array,
    starts: Indices,
    ends: Indices,
    trajectory: Indices,
    leg: Indices,
    fraction: Array,
) -> tuple[Indices, Array]:
    """In which piece of its trajectory each setting (N,) lies, and at which fraction of the piece.

    Args:
        swung_m: (K, T) of the pieces.
        leg_m: (K, S) of the legs from horizon to horizon.
        starts, ends: (S,) first and last piece of each leg.
        trajectory, leg, fraction: (N,) of the settings; at fraction 1 it is the horizon's own.
    """
    if swung_m.shape[1] == len(ends):
        return leg, fraction
    leg_of = np.repeat(np.arange(len(ends)), ends + 1 - starts)
    swung = np.cumsum(swung_m, axis=1)
    swung -= (swung[:, starts] - swung_m[:, starts])[:, leg_of]
    until = np.divide(swung, leg_m[:, leg_of], out=np.ones_like(swung), where=swung > 0)
    until = np.where(leg_m[:, leg_of] > 0, np.where(swung > 0, until, 0.0), 1.0).clip(0.0, 1.0)
    until[:, ends] = 1.0
    # Trajectory by trajectory and leg by leg these rise, so that all are looked up at once.
    base = 2.0 * (np.arange(len(swung_m))[:, None] * len(ends) + leg_of)
    piece = np.searchsorted((base + until).ravel(), 2.0 * (trajectory * len(ends) + leg) + fraction)
    piece = np.where(fraction == 1.0, ends[leg], piece - trajectory * swung_m.shape[1])
    so_far = np.where(piece > starts[leg], until[trajectory, piece - 1], 0.0)
    size = until[trajectory, piece] - so_far
    part = np.divide(fraction - so_far, size, out=np.ones_like(fraction), where=size > 0)
    return piece, np.where(fraction == 1.0, 1.0, part.clip(0.0, 1.0))


def _set_down(
    points: Sequence[PointRows],
    row: Indices,
    settings: _Settings,
    footprint: Footprint,
    min_points: int,
) -> _Met:
    """What is met at every setting, of the points of its row (T,)."""
    count = len(row)
    met = _Met(
        np.full(count, np.inf),
        np.full(count, UNLABELLED, np.uint8),
        np.full(count, -1.0),
        np.full(count, UNLABELLED, np.uint8),
    )
    for horizon, some in enumerate(points):
        xy, number = some.padded()
        if xy.shape[1] < min_points:
            continue
        chosen = np.flatnonzero(settings.around == horizon)
        at_once = max(1, _PAIRS_AT_ONCE // xy.shape[1])
        for start in range(0, len(chosen), at_once):
            part = chosen[start : start + at_once]
            _meet(met, part, settings.pose[part], row[part], some.points, xy, number,
                  footprint, min_points)  # fmt: skip
    return met


def _meet(
    met: _Met,
    part: Indices,
    poses: Array,
    row: Indices,
    points: ObstaclePoints,
    xy: NDArray[np.float32],
    number: Indices,
    footprint: Footprint,
    min_points: int,
) -> None:
    """Tell of some settings (P,) what they meet."""
    offset = xy[row] - poses[:, None, :2].astype(np.float32)
    away = np.hypot(offset[..., 0], offset[..., 1])
    # Those within, and the nearest to the outline, are among these: a point is at least as far from
    # it as from the circle around it, and at most as far as from the circle within.
    kth = np.partition(away, min_points - 1, axis=1)[:, min_points - 1]
    reach_m = footprint.radius_m + np.maximum(kth - footprint.inner_radius_m, 0.0)
    setting, place = np.nonzero((away <= reach_m[:, None] + 1e-4) & np.isfinite(kth)[:, None])
    if not len(setting):
        return
    cosine, sine = np.cos(poses[setting, 2]), np.sin(poses[setting, 2])
    x, y = offset[setting, place].astype(np.float64).T
    off = footprint.distance(np.column_stack([cosine * x + sine * y, cosine * y - sine * x]))
    points_of = number[row[setting], place]
    order = np.lexsort((off, setting))
    which, nearest = _leading(setting[order], min_points)
    nearest = order[nearest]
    met.least_m[part[which]] = off[nearest[:, -1]]
    met.nearest[part[which]] = _usual(points.class_id[points_of[nearest]])
    inside = np.flatnonzero(off <= 0)
    probability = points.probability[points_of]
    order = inside[np.lexsort((-probability[inside], setting[inside]))]
    which, likely = _leading(setting[order], min_points)
    likely = order[likely]
    met.probability[part[which]] = probability[likely[:, -1]]
    met.met[part[which]] = _usual(points.class_id[points_of[likely]])


def _leading(groups: Indices, count: int) -> tuple[Indices, Indices]:
    """Of rising groups (N,), those of `count` members or more; and places (G, count) of the first
    members of each."""
    first = np.flatnonzero(np.append(True, groups[1:] != groups[:-1])[: len(groups)])
    first = first[np.diff(np.append(first, len(groups))) >= count]
    return groups[first], first[:, None] + np.arange(count)


def _usual(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent of each row (N, m), the least of equals."""
    ids = np.sort(ids, axis=1)
    counts = (ids[:, :, None] == ids[:, None, :]).sum(axis=2)
    found: NDArray[np.uint8] = np.take_along_axis(ids, counts.argmax(axis=1)[:, None], axis=1)[:, 0]
    return found


def _look(
    views: Sequence[Sequence[GroundViews]], row: Indices, settings: _Settings, footprint: Footprint
) -> Array:
    """Share of the footprint that no camera sees until then, at every setting (T,)."""
    cells = footprint.cells
    cosine, sine = np.cos(settings.pose[:, 2, None]), np.sin(settings.pose[:, 2, None])
    x = cosine * cells[:, 0] - sine * cells[:, 1] + settings.pose[:, :1]
    y = sine * cells[:, 0] + cosine * cells[:, 1] + settings.pose[:, 1:2]
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    row, leg = np.repeat(row, len(cells)), np.repeat(settings.leg, len(cells))
    is_unseen = np.full(len(places), True)
    for horizon, cameras in enumerate(views):
        for view in cameras:
            asked = np.flatnonzero(is_unseen & (leg >= horizon))
            is_unseen[asked] = ~view.sees(row[asked], places[asked])
    unseen: Array = is_unseen.reshape(-1, len(cells)).mean(axis=1)
    return unseen


def _swept(
    settings: _Settings, met: _Met, unseen: Array | None, contact_probability: float
) -> list[Sweep]:
    """The settings of each trajectory, put together horizon by horizon."""
    found = []
    ends = np.cumsum(settings.legs).reshape(settings.legs.shape)
    for legs, end in zip(settings.legs, ends, strict=True):
        start, steps = int(end[0] - legs[0]) if len(end) else 0, []
        for leg, stop in enumerate(end.tolist()):
            if not legs[leg]:
                unknown = SweptStep(float("nan"), float("nan"), UNLABELLED, float("nan"))
                steps += [unknown] * (len(end) - leg)
                break
            so_far = slice(start, stop)
            likely = start + int(met.probability[so_far].argmax())
            nearest = start + int(met.least_m[so_far].argmin())
            probability = max(float(met.probability[likely]), 0.0)
            class_id = met.met[likely] if probability > 0 else met.nearest[nearest]
            fraction = float("nan") if unseen is None else float(unseen[so_far].mean())
            steps.append(
                SweptStep(probability, float(met.least_m[nearest]), int(class_id), fraction)
            )
        stop = int(end[-1]) if len(end) else 0
        contacts = np.flatnonzero(
            (met.probability[start:stop] >= contact_probability)
            & (met.probability[start:stop] >= 0)
        )
        if not len(contacts):
            found.append(Sweep(tuple(steps)))
            continue
        first = start + int(contacts[0])
        found.append(
            Sweep(
                tuple(steps),
                float(settings.time_s[first]),
                float(settings.walked_m[first]),
                int(met.met[first]),
                float(met.probability[first]),
            )
        )
    return found
