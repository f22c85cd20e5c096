"""CameraInfo of a camera known by its intrinsics."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dino_foresight_ros.recordings.camera import CameraModel


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
