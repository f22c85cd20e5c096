"""What a driver may do next, and the trajectories that lead from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.obstacles import Footprint
from dino_foresight_ros.planar_motion import motion_between
from dino_foresight_ros.synthetic import Control, Drive
from dino_foresight_ros.synthetic.drive import EGO_CENTER_M, EGO_SIZE_M
from dino_foresight_ros.synthetic.road_users import box_outline

TIMES_S = (0.2, 0.4, 0.6, 0.8, 1.0, 1.4, 1.8, 2.2, 2.6)
"""Seconds from now at which trajectories are looked at."""
PADDING_M = 0.25
"""Obstacles so near to the footprint count as met."""
_GAIN_PER_S = 2.0
_COMFORT_MPS2 = (-2.0, 1.5)


class Maneuver(NamedTuple):
    """A way to go on.

    Attributes:
        acceleration_mps2: None for the speed that the road allows.
        offset_m: from the lane's middle, left positive.
    """

    name: str
    acceleration_mps2: float | None = None
    offset_m: float = 0.0

    @property
    def brakes(self) -> bool:
        """Whether it is a stop."""
        return self.acceleration_mps2 is not None


KEEP = Maneuver("keep")
LEFT, RIGHT = Maneuver("left", offset_m=1.1), Maneuver("right", offset_m=-1.1)
BRAKE = Maneuver("brake", -2.5)
BRAKE_HARD = Maneuver("brake hard", -6.0)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where a maneuver leads.

    Attributes:
        maneuver: that is kept up.
        poses: (S, 3) x, y in metres and yaw in rad of the base at `TIMES_S`, in the base of now.
        stays_on_road: whether no corner of the ego comes beyond a kerb.
    """

    maneuver: Maneuver
    poses: NDArray[np.float64]
    stays_on_road: bool


def control_of(drive: Drive, maneuver: Maneuver, most_mps: float | None = None) -> Control:
    """Acceleration and curvature of a maneuver now, at `most_mps` at most."""
    acceleration = maneuver.acceleration_mps2
    if acceleration is None:
        wanted = drive.comfortable_speed()
        wanted = wanted if most_mps is None else min(wanted, most_mps)
        acceleration = float(np.clip(_GAIN_PER_S * (wanted - drive.ego.speed_mps), *_COMFORT_MPS2))
    return Control(acceleration, drive.lane_curvature(maneuver.offset_m))


def trajectory_of(drive: Drive, maneuver: Maneuver) -> Trajectory:
    """Where a maneuver leads, by the ego's own kinematics and the road that it knows."""
    ego = drive.alone()
    start, now_s = drive.world_from_base, 0.0
    poses, on_road = [], True
    for time_s in TIMES_S:
        ego.step(control_of(ego, maneuver), time_s - now_s)
        now_s = time_s
        poses.append(motion_between(start, ego.world_from_base))
        on_road = on_road and not ego.is_off_road
    return Trajectory(maneuver, np.array(poses).reshape(-1, 3), on_road)


def ego_footprint(padding_m: float = PADDING_M) -> Footprint:
    """The ego's outline in its base frame."""
    return Footprint(box_outline(np.array([EGO_CENTER_M, 0.0]), 0.0, *EGO_SIZE_M), padding_m)
