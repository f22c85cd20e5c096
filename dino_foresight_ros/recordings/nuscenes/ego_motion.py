"""The motion of the nuScenes vehicle, from ego poses and from CAN bus messages where present."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.motion import EgoMotion, MotionTrack
from dino_foresight_ros.recordings.poses import Transform, pose_matrix
from dino_foresight_ros.stamps import NS_PER_S

# Values further away in time than this from a message are unknown (messages come at 2 Hz or more).
_MAX_GAP_S = 1.0
_KMH = 1 / 3.6


def ego_motion(
    stamps_ns: NDArray[np.int64], poses: Sequence[Transform], can_bus: Path, scene: str
) -> EgoMotion | None:
    """Put together what is known; None when nothing is.

    Poses are those of ego_pose, else of the CAN bus' velocity and turning rate, integrated. Speed
    comes from the CAN bus (pose messages at 50 Hz, else the vehicle monitor at 2 Hz), else
    from the poses; the steering-wheel angle from the CAN bus alone.
    """
    count = len(stamps_ns)
    world = np.full((count, 4, 4), np.nan)
    if poses:
        world = np.stack(
            [pose_matrix(np.array(p.translation), np.array(p.rotation)) for p in poses]
        )
    else:
        world = _integrated(can_bus / f"{scene}_pose.json", stamps_ns, world)
    times_s = stamps_ns / NS_PER_S
    speed = _signal(can_bus / f"{scene}_pose.json", times_s, lambda row: row["vel"][0])
    if speed is None:
        monitor = can_bus / f"{scene}_vehicle_monitor.json"
        speed = _signal(monitor, times_s, lambda row: row["vehicle_speed"] * _KMH)
    if speed is None and poses:
        speed = speed_along(world, times_s)
    steering = _signal(
        can_bus / f"{scene}_steeranglefeedback.json", times_s, lambda row: row["value"]
    )
    if steering is None:
        monitor = can_bus / f"{scene}_vehicle_monitor.json"
        steering = _signal(monitor, times_s, lambda row: math.radians(row["steering"]))
    if speed is None and steering is None and not poses:
        return None
    unknown = np.full(count, np.nan)
    return EgoMotion(
        speed_mps=unknown if speed is None else speed,
        steering_rad=unknown if steering is None else steering,
        world_from_ego=world,
    )


def _integrated(
    path: Path, stamps_ns: NDArray[np.int64], unknown: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Poses (N, 4, 4) by the CAN bus' pose messages (50 Hz) alone; `unknown` without these."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        twists = [(*row["vel"][:2], row["rotation_rate"][2]) for row in rows]
        times_ns = [int(row["utime"]) * 1000 for row in rows]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return unknown
    if not twists:
        return unknown
    return MotionTrack.from_twists(times_ns, twists).ego(stamps_ns).world_from_ego


def speed_along(
    world_from_ego: NDArray[np.float64], times_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the forward speed (N,) in m/s from poses (N, 4, 4); NaN for a single one."""
    if len(times_s) < 2:
        return np.full(len(times_s), np.nan)
    # From the first instant: seconds since 1970 leave too few digits for differences.
    velocity = np.gradient(world_from_ego[:, :3, 3], times_s - times_s[0], axis=0)
    forward: NDArray[np.float64] = np.einsum("ni,ni->n", velocity, world_from_ego[:, :3, 0])
    return forward


def _signal(
    path: Path, times_s: NDArray[np.float64], value: Callable[[Any], float]
) -> NDArray[np.float64] | None:
    """Interpolate a CAN bus signal at the wanted times; None where there is no such file."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from error
    try:
        pairs = np.array([(row["utime"] * 1e-6, value(row)) for row in rows], np.float64)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path} holds no CAN bus messages of its name") from error
    if not len(pairs):
        return None
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    found: NDArray[np.float64] = np.interp(times_s, pairs[:, 0], pairs[:, 1])
    after = np.searchsorted(pairs[:, 0], times_s)
    neighbours = np.stack([(after - 1).clip(0), after.clip(0, len(pairs) - 1)])
    nearest_s = np.abs(pairs[neighbours, 0] - times_s).min(axis=0)
    return np.where(nearest_s <= _MAX_GAP_S, found, np.nan)
