"""Poses and twists of messages as planar motions, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Twist
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError


def planar_pose(pose: Pose) -> tuple[float, float, float]:
    """x and y in metres and yaw in rad; height, roll and pitch are left out.

    Raises:
        InputError: a number that is not finite, or a quaternion of length 0.
    """
    q = pose.orientation
    values = (pose.position.x, pose.position.y, q.x, q.y, q.z, q.w)
    if not all(math.isfinite(value) for value in values):
        raise InputError("a pose has a number that is not finite")
    if q.x**2 + q.y**2 + q.z**2 + q.w**2 < 1e-6:
        raise InputError("a pose has an orientation of length 0; set w to 1 for none")
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), q.w**2 + q.x**2 - q.y**2 - q.z**2)
    return float(pose.position.x), float(pose.position.y), yaw


def pose_message(motion: Sequence[float] | NDArray[np.float64]) -> Pose:
    """A pose on the floor: x and y in metres, yaw in rad."""
    x, y, yaw = (float(value) for value in motion)
    turn = Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return Pose(position=Point(x=x, y=y), orientation=turn)


def planar_twist(twist: Twist) -> tuple[float, float, float]:
    """m/s forward, m/s to the left and rad/s to the left; may hold NaN."""
    return float(twist.linear.x), float(twist.linear.y), float(twist.angular.z)
