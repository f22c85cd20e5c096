"""CameraInfo: of a camera known by its intrinsics, and of an image that was resized."""

from __future__ import annotations

import copy

from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from dino_foresight_ros.recordings.camera import CameraModel

MAX_ASPECT_ERROR = 0.02


def image_size_of(info: CameraInfo) -> tuple[int, int]:
    """(height, width) of the images that the info belongs to: after its ROI and binning."""
    height = info.roi.height or info.height
    width = info.roi.width or info.width
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def fits(info: CameraInfo, image_size: tuple[int, int]) -> bool:
    """Whether the info can belong to images of this (height, width), up to an even resize."""
    height, width = image_size_of(info)
    if min(height, width, *image_size) <= 0:
        return False
    ratio = (width * image_size[0]) / (height * image_size[1])
    return abs(ratio - 1.0) <= MAX_ASPECT_ERROR


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
