"""CameraInfo: heard, of a camera known by its intrinsics, and of an image that was resized."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.camera import CameraModel, same_shape
from dino_foresight_ros.recordings.camera_view import focal_of
from dino_foresight_ros.ros.qos import camera_info_input_qos, is_overridden, latched_qos, subscribe
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.topic_names import is_rectified

CHECK_PERIOD_S = 0.2


class CameraInfoInput:
    """Hears camera_info that comes with every image, and what was published once and latched.

    A volatile subscription gets nothing of what was published before it, and a transient local one
    does not match volatile publishers, which would warn of it. So there is a second, transient
    local subscription while there is a publisher of that kind. qos_overrides of the topic count
    for both; where they name a durability, there is only one.
    """

    def __init__(self, node: Node, topic: str, callback: Callable[[CameraInfo], None]) -> None:
        self._node, self._topic, self._callback = node, topic, callback
        self._usual = subscribe(node, CameraInfo, topic, callback, camera_info_input_qos())
        self._latched: Any = None
        self._timer: Any = None
        if not is_overridden(node, topic, "subscription", "durability"):
            self._timer = steady_timer(node, CHECK_PERIOD_S, self._follow_publishers)

    def close(self) -> None:
        """Unsubscribe."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        for subscription in filter(None, (self._usual, self._latched)):
            self._node.destroy_subscription(subscription)

    def _follow_publishers(self) -> None:
        offers = self._node.get_publishers_info_by_topic(self._usual.topic_name)
        latched = any(o.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
        if latched and self._latched is None:
            node, topic, qos = self._node, self._topic, latched_qos()
            self._latched = subscribe(node, CameraInfo, topic, self._callback, qos)
        elif not latched and self._latched is not None:
            self._node.destroy_subscription(self._latched)
            self._latched = None


def image_size_of(info: CameraInfo) -> tuple[int, int]:
    """(height, width) of the images that the info belongs to: after its ROI and binning."""
    height = info.roi.height or info.height
    width = info.roi.width or info.width
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def fits(info: CameraInfo, image_size: tuple[int, int]) -> bool:
    """Whether the info can belong to images of this (height, width), up to an even resize."""
    return same_shape(image_size_of(info), image_size)


def check_fits(info: CameraInfo, image_size: tuple[int, int]) -> None:
    """Raises InputError where the info cannot belong to images of this (height, width)."""
    if not fits(info, image_size):
        raise InputError(
            f"camera_info is for images of {info.width}x{info.height}, but they are "
            f"{image_size[1]}x{image_size[0]}"
        )


def focal_by(info: CameraInfo, image_topic: str, image_size: tuple[int, int] | None) -> float:
    """Focal length of a camera, as `CameraView.focal` has it.

    Args:
        info: its camera_info.
        image_topic: full name of the topic of its images.
        image_size: their (height, width); None where it is not known yet.

    Raises:
        InputError: the info is of other images, or as `camera_view.focal_of`.
    """
    if image_size is not None:
        check_fits(info, image_size)
    return focal_of(info, is_rectified(image_topic), "camera_info")


class FocalInput:
    """Reads focal lengths by camera_info, anew only where one says something else than the last."""

    def __init__(self) -> None:
        self._read_of: tuple[Any, ...] = ()
        self._focal = 0.0

    def read(self, info: CameraInfo, image_topic: str, image_size: tuple[int, int]) -> float:
        """As `focal_by`."""
        matrices = [values.tobytes() for values in (info.k, info.r, info.p)]
        sizes = info.height, info.width, info.roi, info.binning_x, info.binning_y
        asked = (*matrices, *sizes, image_topic, image_size)
        if asked != self._read_of:
            self._focal = focal_by(info, image_topic, image_size)
            self._read_of = asked
        return self._focal


def scale_camera_info(info: CameraInfo, size: tuple[int, int]) -> CameraInfo:
    """The info of the same view resized to (height, width), each axis by its own factor.

    K and P are scaled (pixel coordinates times the factor, as image_proc does it); D, R and the
    distortion model stay, since they hold for normalised coordinates. ROI and binning are
    applied, so the result has none.
    """
    height, width = size
    view_height, view_width = image_size_of(info)
    offset_x, offset_y = info.roi.x_offset, info.roi.y_offset
    scale_x = width / (view_width * max(info.binning_x, 1))
    scale_y = height / (view_height * max(info.binning_y, 1))
    scaled = copy.deepcopy(info)
    scaled.height, scaled.width = height, width
    scaled.binning_x = scaled.binning_y = 0
    scaled.roi = RegionOfInterest()
    k, p = [float(v) for v in info.k], [float(v) for v in info.p]
    for matrix, columns in ((k, 3), (p, 4)):
        matrix[2] -= offset_x
        matrix[columns + 2] -= offset_y
        # The fourth column of P (a stereo baseline in pixels) scales as well.
        matrix[:columns] = [v * scale_x for v in matrix[:columns]]
        matrix[columns : 2 * columns] = [v * scale_y for v in matrix[columns : 2 * columns]]
    scaled.k, scaled.p = k, p
    return scaled


def camera_info_msg(model: CameraModel, header: Header) -> CameraInfo:
    """Build the info of one unrectified camera: R is the identity, P is [K|0]."""
    k = [float(value) for value in model.k]
    return CameraInfo(
        header=header,
        height=model.height,
        width=model.width,
        distortion_model=model.distortion_model,
        d=[float(value) for value in model.d],
        k=k,
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0],
    )
