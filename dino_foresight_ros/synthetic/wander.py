"""A driver that changes speed, lane position and heading at random: variety to learn motion from.

Along its own plan the ego moves as the picture foretells: it brakes at lights and turns with the
road. This one brakes, speeds up and swerves without a reason that could be seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_foresight_ros.synthetic.drive import Control, Drive
from dino_foresight_ros.synthetic.ego import EgoState

_STEP_S = 0.1
_SWERVE_ODDS = 0.45
_SWERVE_RPS = (0.1, 0.45)
_LEAST_SPEED_MPS = 2.0
_MOST_ANGLE_RAD = 0.35


def wander(drive: Drive, seed: int, times_s: Sequence[float]) -> list[EgoState]:
    """Drive at random, and give where the ego is at instants.

    Args:
        drive: at an instant before all of them; it is driven on.
        seed: of what is done.
        times_s: rising.

    Returns:
        As many states as instants.
    """
    rng = np.random.default_rng([seed, 23])
    cruise = max(drive.world.conditions.cruise_speed_mps, 4.0)
    until_s, rate, offset_m, acceleration = -1.0, 0.0, 0.0, 0.0
    states = []
    for time_s in times_s:
        while drive.t_s < time_s - 1e-6:
            if drive.t_s >= until_s:
                swerves = rng.random() < _SWERVE_ODDS
                until_s = drive.t_s + rng.uniform(0.6, 1.2 if swerves else 2.0)
                rate = rng.uniform(*_SWERVE_RPS) * rng.choice([-1, 1]) if swerves else 0.0
                offset_m = rng.uniform(-1.0, 1.0)
                wanted = cruise * rng.uniform(0.2, 1.1)
                acceleration = float(np.clip((wanted - drive.ego.speed_mps) / 1.5, -5.0, 2.5))
            control = Control(acceleration, _curvature(drive, rate, offset_m))
            drive.step(control, min(_STEP_S, time_s - drive.t_s))
        states.append(drive.ego)
    return states


def _curvature(drive: Drive, rate_rps: float, offset_m: float) -> float:
    """Curvature of a swerve, or back to the lane where the ego points or drives off the road."""
    ego = drive.ego
    pose = drive.world.setting.road.pose(ego.s_m)[0]
    angle = ego.yaw_rad - float(pose[2])
    is_wild = abs(angle) > _MOST_ANGLE_RAD and angle * rate_rps > 0
    if not rate_rps or is_wild or drive.is_off_road:
        return drive.lane_curvature(offset_m)
    return rate_rps / max(ego.speed_mps, _LEAST_SPEED_MPS)
