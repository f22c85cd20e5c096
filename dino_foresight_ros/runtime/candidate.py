"""Candidates: trajectories that a robot might go, as the motion of its base until each horizon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.planar_motion import (
    Motion,
    compose,
    inverse,
    motion_at,
    of_twist,
    twists_along,
)

DEFAULT_SPEEDS = (25.0, 1.0, 0.7)
"""The fastest motion that a model is trusted with that does not know what it was trained on:
m/s along, m/s across, rad/s."""
_SAME_PLACE_M = 1e-6
_PIECE_S, _MOST_PIECES = 0.1, 64
"""A trajectory is told so often, and at most so often between two horizons: no robot turns by
half a turn in a piece, nor leaves its arc by much."""


def trajectory_times(horizons_s: Sequence[float]) -> list[float]:
    """Rising instants (T,), horizons included, at which a trajectory is told, for its turns.

    Args:
        horizons_s: rising seconds, above 0; others are given back as they are.
    """
    horizons = np.asarray(horizons_s, np.float64)
    legs_s = np.diff(horizons, prepend=0.0)
    if not (np.isfinite(horizons).all() and (legs_s > 0).all()):
        return list(horizons_s)
    pieces = np.clip(np.ceil(legs_s / _PIECE_S - 1e-6), 1, _MOST_PIECES).astype(int)
    parts = [
        before_s + leg_s * np.arange(1, count) / count
        for before_s, leg_s, count in zip(horizons - legs_s, legs_s, pieces, strict=True)
    ]
    return [
        float(time_s)
        for part, horizon_s in zip(parts, horizons_s, strict=True)
        for time_s in (*part, horizon_s)
    ]


def twist_motions(twist: ArrayLike, duration_s: float, horizons_s: Sequence[float]) -> Motion:
    """A constant twist that is held for a time, integrated exactly; then the robot stands.

    Args:
        twist: (3,) m/s forward, m/s to the left, rad/s to the left, in the base frame.
        duration_s: how long it is held.
        horizons_s: S seconds from the newest frame.

    Returns:
        (S, 3) motion until each horizon.

    Raises:
        InputError: a number that is not finite, or a duration that is not above 0.
    """
    values = np.asarray(twist, np.float64)
    if not (np.isfinite(values).all() and np.isfinite(duration_s)):
        raise InputError("its twist or duration is not a finite number")
    if duration_s <= 0:
        raise InputError(f"its twist is held for {duration_s:g} s; give a duration above 0")
    return of_twist(values[None], np.minimum(np.asarray(horizons_s, np.float64), duration_s))


def check_turn(yaw_rate_rps: float, times_s: Sequence[float]) -> None:
    """Refuse a turn that instants (T,) cannot tell from a slow one.

    Raises:
        InputError: half a turn or more from one instant to the next.
    """
    longest_s = float(np.diff(times_s, prepend=0.0).max())
    most_rps = np.pi / longest_s
    if abs(yaw_rate_rps) >= most_rps:
        raise InputError(
            f"its twist turns by {yaw_rate_rps:g} rad/s, half a turn or more within {longest_s:g} "
            f"s; give less than {most_rps:.1f}"
        )


def path_motions(
    poses: ArrayLike, times_s: Sequence[float], horizons_s: Sequence[float], start: ArrayLike
) -> Motion:
    """A path of timed poses, followed from pose to pose as if each twist were held.

    The base is at `start` at time 0 and goes to the first pose that is later. At the end of the
    path it stands.

    Args:
        poses: (N, 3) x, y in metres and yaw in rad in any frame.
        times_s: N seconds from the newest frame, rising; poses of the past are passed over.
        horizons_s: S seconds from the newest frame.
        start: (3,) pose of the base at the newest frame, in that frame.

    Returns:
        (S, 3) motion until each horizon.

    Raises:
        InputError: fewer than two poses, a number that is not finite, times that fall, or a path
            that ended before the newest frame.
    """
    places, times = np.asarray(poses, np.float64).reshape(-1, 3), np.asarray(times_s, np.float64)
    if len(places) < 2:
        raise InputError(f"its path has {len(places)} pose; give two or more")
    if not (np.isfinite(places).all() and np.isfinite(times).all()):
        raise InputError("its path has a pose or a time that is not a finite number")
    steps = np.diff(times)
    if (steps < 0).any():
        first = int(np.argmax(steps < 0)) + 1
        raise InputError(f"the stamps of its path go backwards at pose {first}; they must rise")
    ahead = np.flatnonzero((times > 0) & np.append(steps > 0, True))  # the last of equal stamps
    if not len(ahead):
        raise InputError("its path ended before the newest frame; give stamps that are ahead of it")
    motions, until_s = compose(inverse(start), places[ahead]), times[ahead]
    return motion_at(motions, until_s, np.minimum(np.asarray(horizons_s, np.float64), until_s[-1]))


def path_times(poses: ArrayLike, speed_mps: float, start: ArrayLike) -> list[float]:
    """When poses (N, 3) are reached from `start` at a speed; turns on the spot take no time."""
    places = np.vstack([np.asarray(start, np.float64)[None], np.asarray(poses, np.float64)])
    lengths = np.hypot(*np.diff(places[:, :2], axis=0).T)
    return list(np.cumsum(np.maximum(lengths, _SAME_PLACE_M)) / speed_mps)


def progress(motions: Motion) -> float:
    """Metres forward along a trajectory (T, 3): of an arc its length."""
    return float(twists_along(motions)[:, 0].sum())


def alike(motions: Motion, within_m: float, within_rad: float) -> NDArray[np.intp]:
    """For each of several motions the first one that leads nearly there.

    Args:
        motions: (K, 3) until one instant.
        within_m, within_rad: two are alike while what they are apart in place, as a fraction of the
            one, and in heading, as a fraction of the other, adds up to less than 1. With 0 those
            are that are the same.

    Returns:
        (K,) indices; those of a group are alike to the one that they name, which names itself.
    """
    found = np.full(len(motions), -1, np.intp)
    if within_m <= 0 or within_rad <= 0:
        _, first, group = np.unique(motions, axis=0, return_index=True, return_inverse=True)
        return np.asarray(first[group.ravel()], np.intp)
    for index, motion in enumerate(motions):
        if found[index] >= 0:
            continue
        off = motions[index:] - motion
        turned = np.abs((off[:, 2] + np.pi) % (2 * np.pi) - np.pi)
        apart = np.hypot(off[:, 0], off[:, 1]) / within_m + turned / within_rad
        group = index + np.flatnonzero((apart < 1) & (found[index:] < 0))
        found[group] = index
    return found


def outside_range(
    motions: Motion, times_s: Sequence[float], speeds: Sequence[float] | None
) -> NDArray[np.bool_]:
    """Which motions are faster than what a forecaster was trained on.

    Args:
        motions: (..., T, 3) until each instant; between two of them no more than half a turn.
        times_s: T seconds.
        speeds: the fastest that it was trained on, m/s along, m/s across, rad/s;
            `DEFAULT_SPEEDS` where it does not know.

    Returns:
        (..., T) bool, by the mean twist until then; a motion that is not known is within.
    """
    # Turns add up: the yaw of a motion alone lies within half a turn.
    moved = np.cumsum(twists_along(motions), axis=-2)
    twists = moved / np.asarray(times_s, np.float64)[:, None]
    limits = np.asarray(speeds or DEFAULT_SPEEDS) * 1.001
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(twists) > limits).any(axis=-1))
