"""Builds messages of common types as rosbags has them, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.poses import Transform
from dino_foresight_ros.stamps import NS_PER_S


@lru_cache(maxsize=1)
def typestore() -> Any:
    """Return the message definitions of ROS 2 Jazzy."""
    return get_typestore(Stores.ROS2_JAZZY)


def make(msgtype: str, **fields: Any) -> Any:
    """A message of a type such as std_msgs/msg/Header, from all of its fields."""
    return typestore().types[msgtype](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    stamp = make("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(pixels: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/Image, encoding rgb8, from (H, W, 3) RGB."""
    height, width = pixels.shape[:2]
    return make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=width * 3,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def compressed_image(
    data: NDArray[np.uint8], compression: str, stamp_ns: int, frame_id: str
) -> Any:
    """sensor_msgs/CompressedImage from the bytes of a jpeg or png file."""
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=header(stamp_ns, frame_id),
        format=compressed_format(compression),
        data=data,
    )


def compressed_format(compression: str) -> str:
    """Return what compressed_image_transport writes into CompressedImage.format."""
    return f"rgb8; {compression} compressed bgr8"


def camera_info(camera: CameraModel, stamp_ns: int, frame_id: str) -> Any:
    """sensor_msgs/CameraInfo of a single camera: R identity, P = [K | 0]."""
    k = np.array(camera.k, np.float64)
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header(stamp_ns, frame_id),
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model,
        d=np.array(camera.d, np.float64),
        k=k,
        r=np.eye(3).reshape(-1),
        p=np.hstack((k.reshape(3, 3), np.zeros((3, 1)))).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=whole_image(),
    )


def whole_image() -> Any:
    """sensor_msgs/RegionOfInterest of an image that was not cropped."""
    return make(
        "sensor_msgs/msg/RegionOfInterest",
        x_offset=0,
        y_offset=0,
        height=0,
        width=0,
        do_rectify=False,
    )


def transforms(items: Sequence[tuple[int, str, str, Transform]]) -> Any:
    """tf2_msgs/TFMessage of (stamp, parent, child, parent_from_child)."""
    return make(
        "tf2_msgs/msg/TFMessage",
        transforms=[
            make(
                "geometry_msgs/msg/TransformStamped",
                header=header(stamp_ns, parent),
                child_frame_id=child,
                transform=make(
                    "geometry_msgs/msg/Transform",
                    translation=vector(pose.translation),
                    rotation=quaternion(pose.rotation),
                ),
            )
            for stamp_ns, parent, child, pose in items
        ],
    )


def odometry(
    stamp_ns: int, fixed: str, base: str, pose: Transform, linear: Any, angular: Any
) -> Any:
    """nav_msgs/Odometry: pose in a fixed frame; `linear` m/s and `angular` rad/s (3,) in the base.

    Args:
        stamp_ns: nanoseconds.
        fixed, base: names of the frames.
        pose: of the base in the fixed frame.
        linear, angular: of the base.
    """
    unknown = np.zeros(36)
    return make(
        "nav_msgs/msg/Odometry",
        header=header(stamp_ns, fixed),
        child_frame_id=base,
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose_of(pose), covariance=unknown),
        twist=make(
            "geometry_msgs/msg/TwistWithCovariance",
            twist=make("geometry_msgs/msg/Twist", linear=vector(linear), angular=vector(angular)),
            covariance=unknown,
        ),
    )


def vector(values: Any) -> Any:
    """geometry_msgs/Vector3 of three numbers."""
    x, y, z = (float(value) for value in values)
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def quaternion(rotation: tuple[float, float, float, float]) -> Any:
    """geometry_msgs/Quaternion of (w, x, y, z)."""
    w, x, y, z = rotation  # ROS has w last
    return make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def pose_of(transform: Transform) -> Any:
    """geometry_msgs/Pose."""
    x, y, z = transform.translation
    return make(
        "geometry_msgs/msg/Pose",
        position=make("geometry_msgs/msg/Point", x=x, y=y, z=z),
        orientation=quaternion(transform.rotation),
    )
