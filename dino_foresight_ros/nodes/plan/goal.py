"""Where to go: a goal in a frame that stands still, and what trajectories towards it cost."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import ArrayLike, NDArray
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.planar_motion import compose, motion_of, wrapped
from dino_foresight_ros.recordings.poses import pose_matrix
from dino_foresight_ros.ros.live_motion import LiveMotion
from dino_foresight_ros.ros.planar import planar_pose, pose_message
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.topic_names import frame_name

_LEAST_PROGRESS_M = 0.005
"""Trajectories that lead no more than this nearer lead nowhere."""
_MOST_COST = 2.0


def standing_goal(message: PoseStamped, motion: LiveMotion, base_frame: str) -> PoseStamped:
    """A goal as it came, or one in a frame that rides along with the robot, in the odometry's.

    Args:
        message: a goal; without frame_id it is of the base.
        motion: where the base is: at the goal's stamp, or now where that is 0.
        base_frame: that of the robot.

    Raises:
        InputError: the pose is none, or where the base is then is not known.
    """
    planar_pose(message.pose)  # refuses what is none
    frame = frame_name(message.header.frame_id) or base_frame
    on_base = motion.fixed_on_base(frame)
    if on_base is None:
        return message
    place, q = message.pose.position, message.pose.orientation
    turn = np.array([q.w, q.x, q.y, q.z])
    local = pose_matrix([place.x, place.y, place.z], turn / np.linalg.norm(turn))
    pose = motion_of(on_base @ local)
    try:
        state = motion.state(time_to_ns(message.header.stamp) or None)
        if state.frame in ("", base_frame):
            raise InputError("odometry has no frame_id")
    except InputError as error:
        raise InputError(
            f"it is relative to {frame}, which rides along, and where {base_frame} is is not known "
            f"({error}); give it in a frame that stands still"
        ) from error
    header = Header(stamp=message.header.stamp, frame_id=state.frame)
    return PoseStamped(header=header, pose=pose_message(compose(state.pose, pose)))


def goal_costs(ends: ArrayLike, goal: ArrayLike) -> NDArray[np.float64]:
    """What trajectories (K,) cost by where they end: 0 for the one that leads nearest to the goal.

    The cost is the share of the greatest progress that a trajectory lacks, so that standing costs
    1. Where none leads nearer, it is how far each looks away from the goal, as a share of half a
    turn, and how much farther it leads, as a share of the distance.

    Args:
        ends: (K, 3) of trajectories, x and y in metres and yaw in rad, in the base frame.
        goal: (3,) in the base frame; its yaw counts for nothing.
    """
    ends, place = np.asarray(ends, np.float64), np.asarray(goal, np.float64)[:2]
    to_goal, here_m = place - ends[:, :2], float(np.hypot(*place))
    off_rad = np.arctan2(to_goal[:, 1], to_goal[:, 0]) - ends[:, 2]
    return _costs(here_m - np.hypot(*to_goal.T), off_rad, max(here_m, _LEAST_PROGRESS_M))


def heading_costs(ends: ArrayLike, heading_rad: float) -> NDArray[np.float64]:
    """As `goal_costs`, where the goal is to go far in one direction (REP-103)."""
    ends = np.asarray(ends, np.float64)
    progress_m = ends[:, 0] * np.cos(heading_rad) + ends[:, 1] * np.sin(heading_rad)
    return _costs(progress_m, heading_rad - ends[:, 2], 1.0)


def _costs(
    progress_m: NDArray[np.float64], off_rad: NDArray[np.float64], distance_m: float
) -> NDArray[np.float64]:
    """What trajectories (K,) cost by how much nearer they lead, and by how far they then look away.

    Args:
        progress_m: (K,) nearer.
        off_rad: (K,) between where each looks and where to go.
        distance_m: of which what a trajectory leads farther is a share, where none leads nearer.
    """
    most_m = float(progress_m.max())
    if most_m > _LEAST_PROGRESS_M:
        costs = (most_m - progress_m) / most_m
    else:
        costs = np.abs(wrapped(off_rad)) / np.pi + (most_m - progress_m) / distance_m
    found: NDArray[np.float64] = np.clip(costs, 0.0, _MOST_COST)
    return found
