"""Writes how a recording's vehicle moves into a rosbag2: /odom, /tf, and the camera's mounting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.bag_messages import odometry, transforms
from dino_foresight_ros.recordings.bag_odometry import BASE_FRAMES, FIXED_FRAMES, ODOMETRY_TYPE
from dino_foresight_ros.recordings.bag_writer import BagWriter
from dino_foresight_ros.recordings.poses import Transform
from dino_foresight_ros.recordings.recording import Recording
from dino_foresight_ros.recordings.transform_tree import TF_TYPE

ODOMETRY_TOPIC, TF_TOPIC, STATIC_TOPIC = "/odom", "/tf", "/tf_static"
_FIXED, _BASE = FIXED_FRAMES[0], BASE_FRAMES[0]


@dataclass(frozen=True)
class BagMotion:
    """The motion of a recording; writes nothing where it is not known.

    Attributes:
        poses: (N, 4, 4) world_from_base by frame, NaN where unknown; None without any.
        twists: (N, 3) m/s forward, m/s to the left, rad/s to the left.
        base_from_optical: (4, 4), None where unknown.
    """

    poses: NDArray[np.float64] | None
    twists: NDArray[np.float64]
    base_from_optical: NDArray[np.float64] | None

    @classmethod
    def of(cls, recording: Recording) -> BagMotion:
        """Of all frames of a recording."""
        ego, mount = recording.ego, recording.base_from_optical
        if ego is None:
            return cls(None, np.empty((0, 3)), mount)
        return cls(ego.world_from_ego, ego.twists(recording.stamps_ns), mount)

    def write_mount(self, writer: BagWriter, stamp_ns: int, frame_id: str) -> None:
        """Write base_link to the camera's optical frame on /tf_static."""
        if self.base_from_optical is not None:
            place = (stamp_ns, _BASE, frame_id, Transform.of(self.base_from_optical))
            writer.write(STATIC_TOPIC, TF_TYPE, stamp_ns, transforms([place]), latched=True)

    def write(self, writer: BagWriter, index: int, stamp_ns: int) -> None:
        """Write the motion at a frame on /odom, and odom to base_link on /tf."""
        if self.poses is None or not np.isfinite(self.poses[index]).all():
            return
        pose, twist = Transform.of(self.poses[index]), np.nan_to_num(self.twists[index])
        linear, angular = (twist[0], twist[1], 0.0), (0.0, 0.0, twist[2])
        message = odometry(stamp_ns, _FIXED, _BASE, pose, linear, angular)
        writer.write(ODOMETRY_TOPIC, ODOMETRY_TYPE, stamp_ns, message)
        moved = transforms([(stamp_ns, _FIXED, _BASE, pose)])
        writer.write(TF_TOPIC, TF_TYPE, stamp_ns, moved)
