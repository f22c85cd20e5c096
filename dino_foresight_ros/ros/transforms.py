"""Transforms between frames: looked up by tf2, where it is installed, and as messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from geometry_msgs.msg import Transform as Message
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError, describe
from dino_foresight_ros.recordings.poses import Transform, pose_matrix
from dino_foresight_ros.ros.time import ns_to_time, time_to_ns

STALE_S = 0.5
"""For so long a transform that moves stands for a later instant: TF comes behind the pictures, by a
message or two of odometry, and a base at 1 m/s is within the robot's own length then."""

Matrix = NDArray[np.float64]


class Transforms:
    """Looks transforms up; from any thread."""

    def __init__(self, node: Node) -> None:
        """Listen to /tf and /tf_static, where tf2_ros is installed."""
        self._buffer: Any = None
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError:
            return
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def matrix(self, target: str, source: str, stamp_ns: int | None = None) -> Matrix:
        """(4, 4) that takes points of `source` to `target`.

        Args:
            target, source: names of frames.
            stamp_ns: when, nanoseconds; the newest that is known when None, or where the instant
                is not known yet and at most `STALE_S` from it.

        Raises:
            InputError: TF does not know it, not about then, or tf2_ros is not installed.
        """
        if target == source:
            return np.eye(4)
        found, known_ns = self._look_up(target, source, stamp_ns)
        # 0 of what never moves
        if stamp_ns is not None and known_ns and abs(stamp_ns - known_ns) > STALE_S * 1e9:
            late_s = (stamp_ns - known_ns) / 1e9
            way = f"TF from {target} to {source}"
            if late_s > 0:
                raise InputError(f"{way} is {late_s:.2g} s old")
            raise InputError(f"{way} begins {-late_s:.2g} s after the stamp")
        return found

    def fixed(self, target: str, source: str) -> Matrix | None:
        """As `matrix`, of a frame that never moves in another (/tf_static).

        Returns:
            None of one that does, or that TF does not know.
        """
        if target == source:
            return np.eye(4)
        try:
            found, known_ns = self._look_up(target, source, None)
        except InputError:
            return None
        return found if known_ns == 0 else None

    def _look_up(self, target: str, source: str, stamp_ns: int | None) -> tuple[Matrix, int]:
        """What tf2 knows nearest to an instant, and of when that is, nanoseconds."""
        if self._buffer is None:
            raise InputError(f"frame {source} is unknown in {target}: tf2_ros is not installed")
        from rclpy.time import Time as Instant

        wanted = [Instant()]
        if stamp_ns is not None:
            wanted.insert(0, Instant.from_msg(ns_to_time(stamp_ns)))
        for place, when in enumerate(wanted):
            try:
                found = self._buffer.lookup_transform(target, source, when)
                break
            except Exception as error:
                if place == len(wanted) - 1:
                    text = f"TF knows no way from {source} to {target} ({describe(error)})"
                    raise InputError(text) from error
        t, q = found.transform.translation, found.transform.rotation
        pose = pose_matrix([t.x, t.y, t.z], [q.w, q.x, q.y, q.z])
        return pose, time_to_ns(found.header.stamp)


def transform_message(stamp: Time, parent: str, child: str, pose: Matrix) -> Any:
    """tf2_msgs/TFMessage of one transform: pose (4, 4) of the child in the parent."""
    from tf2_msgs.msg import TFMessage

    place, (w, x, y, z) = Transform.of(pose)
    found = TransformStamped(header=Header(stamp=stamp, frame_id=parent), child_frame_id=child)
    found.transform = Message(
        translation=Vector3(x=place[0], y=place[1], z=place[2]),
        rotation=Quaternion(x=x, y=y, z=z, w=w),
    )
    return TFMessage(transforms=[found])
