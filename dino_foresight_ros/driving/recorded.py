"""When a collision monitor would have stopped a recorded drive, by what it is fed with.

A recording cannot be driven otherwise, so this is open loop: what a source says is compared with
what the same heads then saw on the way ahead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.driving.foreseen import Foreseen
from dino_foresight_ros.driving.maneuvers import TIMES_S
from dino_foresight_ros.driving.monitor import CollisionMonitor, is_stop
from dino_foresight_ros.driving.perception import Sensor, at_times
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles import ObstaclePoints
from dino_foresight_ros.planar_motion import of_twist, twist_of
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.runtime.imagined import Mount
from dino_foresight_ros.synthetic import Control

PRESENT, COPY_LAST, FORECAST, TRUTH = "present", "copy-last", "forecast", "truth"
GOING_MPS = 1.0
"""Stops of a slower robot are not counted."""
BEFORE_S, AFTER_S = TIMES_S[-1], 1.0
"""A stop belongs to one of the truth that begins at most so long after, or before it."""


@dataclass(frozen=True, eq=False)
class RecordedDrive:
    """What each source says at each instant of a recording.

    Attributes:
        times_s: (N,) of the instants.
        speeds_mps: (N,) m/s forward.
        travelled_m: between the first instant and the last.
        stopping: source -> (N,) whether the monitor would stop.
    """

    times_s: NDArray[np.float64]
    speeds_mps: NDArray[np.float64]
    travelled_m: float
    stopping: Mapping[str, NDArray[np.bool_]]


def monitor_recording(recording: Recording, eyes: Foreseen, mount: Mount) -> RecordedDrive:
    """Let a bundle look at a recording, and ask a monitor at each instant.

    The robot is expected to go on with the twist that it had between the last two instants. The
    truth of an instant is what the heads saw later, up to `BEFORE_S`, in the base frame of then.

    Args:
        recording: with known motion of the base.
        eyes: the bundle.
        mount: of the recording's camera.

    Raises:
        InputError: the motion is not known, or of fewer than three instants.
    """
    ego = recording.ego
    if ego is None:
        raise InputError(f"{recording.name} does not tell how its robot moves: record odometry")
    chosen = _spaced(recording.stamps_ns, eyes.interval_s)
    seconds = recording.stamps_ns[chosen] / 1e9
    moved = ego.between(chosen[:-1], chosen[1:])
    known = np.isfinite(moved).all(axis=1)
    if known.sum() < 2:
        raise InputError(f"{recording.name} does not tell how its robot moves: record odometry")
    twists = np.zeros((len(chosen), 3))
    twists[1:] = np.nan_to_num(
        np.array([twist_of(one) for one in moved]).reshape(-1, 3) / np.diff(seconds)[:, None]
    )
    twists[0] = twists[1]
    now: list[ObstaclePoints] = []
    ahead: list[list[ObstaclePoints]] = []
    for index, twist in zip(chosen.tolist(), twists, strict=True):
        (frame,) = recording.read([index])
        assert frame.image is not None
        poses = of_twist(twist, eyes.horizons_s)
        eyes.look(frame.image, frame.stamp_ns, mount, poses)
        now.append(eyes.points)
        ahead.append(at_times(eyes.points, eyes.steps, eyes.horizons_s[: len(eyes.steps)]))
    monitor = CollisionMonitor(Sensor())

    def stops(row: int, clouds: Sequence[ObstaclePoints]) -> bool:
        speed, turn = float(max(twists[row, 0], 0.0)), float(twists[row, 2])
        cloud = ObstaclePoints.joined(list({id(one): one for one in clouds}.values()))
        control = Control(0.0, turn / max(speed, 0.5))
        return is_stop(*monitor.limit(cloud.xyz[:, :2], speed, speed, control), speed)

    found = {name: np.zeros(len(chosen), bool) for name in (PRESENT, COPY_LAST, FORECAST, TRUTH)}
    for row in range(len(chosen)):
        hold = of_twist(twists[row], TIMES_S)
        later = np.flatnonzero((seconds >= seconds[row]) & (seconds <= seconds[row] + BEFORE_S))
        trajectories = ego.between(np.full(len(later), chosen[row]), chosen[later])
        came = [
            now[k].moved(trajectory)
            for k, trajectory in zip(later.tolist(), trajectories, strict=True)
            if np.isfinite(trajectory).all()
        ]
        found[PRESENT][row] = stops(row, [now[row]])
        found[COPY_LAST][row] = stops(row, [now[row].moved(pose) for pose in hold])
        found[FORECAST][row] = stops(row, ahead[row])
        found[TRUTH][row] = stops(row, came)
    length_m = float(np.hypot(*moved[known, :2].T).sum())
    return RecordedDrive(seconds, twists[:, 0], length_m, found)


def stop_rows(drives: Sequence[RecordedDrive]) -> list[dict[str, Any]]:
    """How the stops of each source compare with those of the truth, all drives together.

    Returns:
        A row per source: stops per km; `answered`, the fraction of the truth's stops that it has
        too, between `BEFORE_S` before them and `AFTER_S` after; the median of the seconds by which
        it has them earlier; and stops per km that belong to none of the truth. NaN where there is
        nothing to divide by.
    """
    km = sum(drive.travelled_m for drive in drives) / 1000.0
    rows = []
    for name in drives[0].stopping:
        begun, wanted, false, leads_s = 0, 0, 0, []
        for drive in drives:
            times, stopping = drive.times_s, drive.stopping[name]
            truth = drive.stopping[TRUTH]
            is_going = drive.speeds_mps > GOING_MPS
            for row in _begins(stopping, is_going):
                begun += 1
                near = (times >= times[row] - AFTER_S) & (times <= times[row] + BEFORE_S)
                false += not (truth & near).any()
            for row in _begins(truth, is_going):
                wanted += 1
                near = (times >= times[row] - BEFORE_S) & (times <= times[row] + AFTER_S)
                if (stopping & near).any():
                    leads_s.append(float(times[row] - times[np.argmax(stopping & near)]))
        rows.append(
            {
                "source": name,
                "stops_per_km": begun / km if km > 0 else float("nan"),
                "answered": len(leads_s) / wanted if wanted else float("nan"),
                "earlier_s": float(np.median(leads_s)) if leads_s else float("nan"),
                "false_stops_per_km": false / km if km > 0 else float("nan"),
                "km": km,
            }
        )
    return rows


def _begins(stopping: NDArray[np.bool_], is_going: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows at which a stop begins while the robot goes."""
    before = np.append(False, stopping[:-1])
    return np.flatnonzero(stopping & ~before & is_going)


def _spaced(stamps_ns: NDArray[np.int64], interval_s: float) -> NDArray[np.int64]:
    """Indices of frames that are about so far apart, the first among them."""
    chosen, next_ns = [], int(stamps_ns[0]) if len(stamps_ns) else 0
    for index, stamp_ns in enumerate(stamps_ns.tolist()):
        if stamp_ns >= next_ns - 0.25e9 * interval_s:
            chosen.append(index)
            next_ns = stamp_ns + round(interval_s * 1e9)
    return np.array(chosen, np.int64)
