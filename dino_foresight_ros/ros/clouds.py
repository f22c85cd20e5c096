"""Depth images as point clouds in the camera's optical frame."""

from __future__ import annotations

import array
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles import ObstaclePoints
from dino_foresight_ros.recordings.camera_view import camera_view
from dino_foresight_ros.ros.camera_info import fits, image_size_of, scale_camera_info
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.topic_names import is_rectified

_COLORED = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4")])
"""rgb is packed as PCL does, and told as a float32 as PCL does."""
_OBSTACLE = np.dtype(
    {
        "names": ["x", "y", "z", "class_id", "probability", "horizon"],
        "formats": ["<f4", "<f4", "<f4", "u1", "<f4", "<f4"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)
ASSUME_A_VIEW = "for a recording, fov_deg:=70.0 of replay assumes a horizontal field of view"
_NO_FOCAL_LENGTH = "camera_info has no focal length: the camera is not calibrated"


def intrinsics_of(info: CameraInfo) -> NDArray[np.float64] | None:
    """(3, 3) pinhole matrix of the pictures; None of a camera that is not calibrated.

    The left part of P where P is set, else K. P holds for rectified pictures, and RViz's
    DepthCloud reads it too. Pictures that are not rectified are distorted, so that no pinhole
    matrix is exact for them.
    """
    rectified = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
    for matrix in (rectified, np.array(info.k, np.float64).reshape(3, 3)):
        if np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0:
            return matrix
    return None


def is_distorted(info: CameraInfo, image_topic: str) -> bool:
    """Whether D bends the pictures: not rectified ones (`is_rectified`).

    P is exact for those, and D is that of the pictures before.
    """
    return not is_rectified(image_topic) and any(info.d)


def depth_with_info(
    scene: Scene,
    info: CameraInfo | None,
    picture_size: tuple[int, int] | None,
    image_topic: str = "",
) -> tuple[NDArray[np.float32], CameraInfo]:
    """A scene's depth, (H, W) metres, and the camera_info scaled to it.

    Args:
        scene: whose depth.
        info: the camera's own camera_info, not scaled; None before the first.
        picture_size: (height, width) of its pictures, None before the first.
        image_topic: theirs, see `is_distorted`.

    Returns:
        The depth, and its camera_info, with D only where it bends the pictures.

    Raises:
        InputError: depth cannot be shown as points, and why; such as an unknown lens model.
    """
    if scene.depth is None or not scene.depth.size:
        raise InputError("no depth is forecast")
    if not scene.depth_is_metric:
        raise InputError("the forecast has no metric depth")
    if info is None:
        raise InputError(f"no camera_info came; {ASSUME_A_VIEW}")
    if min(image_size_of(info)) <= 0:
        raise InputError("camera_info has no image size: the camera is not calibrated")
    if intrinsics_of(info) is None:
        raise InputError(_NO_FOCAL_LENGTH)
    if picture_size is not None and not fits(info, picture_size):
        raise InputError("camera_info is of another camera than the pictures")
    # The forecast is of the whole view, at the head's own aspect ratio.
    scaled = scale_camera_info(info, (scene.depth.shape[0], scene.depth.shape[1]))
    if not is_distorted(info, image_topic):
        scaled.d = []
    rays_of(scaled)  # refuses what leads to none
    return scene.depth, scaled


def depth_to_points(
    depth: NDArray[np.float32],
    colors: NDArray[np.uint8] | None,
    info: CameraInfo,
    header: Header,
    stride: int = 1,
    max_depth_m: float = float("inf"),
) -> PointCloud2:
    """Back-project every `stride`-th pixel of each row and column that has a depth.

    Args:
        depth: (H, W) metres along the optical axis, NaN unknown.
        colors: (H, W, 3) uint8 RGB; None gives white points.
        info: of these images: K and D where there is a D, which is undone, else `intrinsics_of`.
        header: the cloud's, frame_id the optical frame (x right, y down, z forward).
        stride: 1 takes every pixel.
        max_depth_m: farther points are left out.

    Returns:
        An unorganised cloud with fields x, y, z (float32, metres) and rgb (packed as PCL does).

    Raises:
        ValueError: the info has another size or no focal length.
    """
    positions, known = back_project(depth, info, stride, max_depth_m)
    points = np.zeros(len(positions), [("xyz", "<f4", 3), ("rgb", "<u4")])
    points["xyz"] = positions
    if colors is None:
        points["rgb"] = 0xFFFFFF
    else:
        r, g, b = (colors[::stride, ::stride][known, i].astype(np.uint32) for i in range(3))
        points["rgb"] = (r << 16) | (g << 8) | b
    return _cloud(points.view(_COLORED), header)


def obstacle_cloud(points: ObstaclePoints, horizon_s: float, header: Header) -> PointCloud2:
    """Obstacles as a cloud with x, y, z (metres), class_id, probability and horizon (seconds).

    Args:
        points: in the header's frame.
        horizon_s: of all of them.
        header: the cloud's.
    """
    rows = np.zeros(len(points), _OBSTACLE)
    for axis, name in enumerate("xyz"):
        rows[name] = points.xyz[:, axis]
    rows["probability"], rows["class_id"] = points.probability, points.class_id
    rows["horizon"] = horizon_s
    return _cloud(rows, header)


def _cloud(rows: NDArray[np.void], header: Header) -> PointCloud2:
    """An unorganised cloud of a row for each point, with the rows' fields."""
    data = array.array("B")
    data.frombytes(rows.tobytes())
    kinds = {"<f4": PointField.FLOAT32, "<u4": PointField.FLOAT32, "|u1": PointField.UINT8}
    return PointCloud2(
        header=header,
        height=1,
        width=len(rows),
        fields=[
            PointField(name=name, offset=int(field[1]), datatype=kinds[field[0].str], count=1)
            for name, field in (rows.dtype.fields or {}).items()
        ],
        is_bigendian=False,
        point_step=rows.dtype.itemsize,
        row_step=rows.dtype.itemsize * len(rows),
        data=data,
        is_dense=True,
    )


def back_project(
    depth: NDArray[np.float32],
    info: CameraInfo,
    stride: int = 1,
    max_depth_m: float = float("inf"),
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Points of every `stride`-th pixel of each row and column that has a depth.

    Args:
        depth: (H, W) metres along the optical axis, NaN unknown.
        info: of these images: K and D where there is a D, which is undone, else `intrinsics_of`.
        stride: 1 takes every pixel.
        max_depth_m: farther points are left out.

    Returns:
        (N, 3) float32 positions in the optical frame, metres, row by row; and which of
        depth[::stride, ::stride] they are, bool.

    Raises:
        ValueError: the info has another size or no focal length.
    """
    height, width = depth.shape
    if (info.height, info.width) != (height, width):
        raise ValueError(
            f"camera_info is for {info.width}x{info.height}, the depth is {width}x{height}"
        )
    rays, z = rays_of(info)[::stride, ::stride], depth[::stride, ::stride]
    with np.errstate(invalid="ignore"):
        known = np.isfinite(z) & (z > 0) & (z <= max_depth_m) & np.isfinite(rays[..., 0])
    return rays[known] * z[known][:, None], known


def rays_of(info: CameraInfo) -> NDArray[np.float32]:
    """(H, W, 3) rays through the pixels, z = 1; NaN where the lens sees nothing.

    Args:
        info: as `depth_with_info` gives it: K and D where there is a D, which is undone, else
            `intrinsics_of`.

    Raises:
        ValueError: the info has no focal length.
    """
    matrix = intrinsics_of(info)
    if matrix is None:
        raise ValueError(_NO_FOCAL_LENGTH)
    k = tuple(info.k) if any(info.d) else tuple(matrix.ravel().tolist())
    return _rays(k, tuple(info.d), info.distortion_model, info.height, info.width)


@lru_cache(maxsize=8)
def _rays(
    k: tuple[float, ...], d: tuple[float, ...], model: str, height: int, width: int
) -> NDArray[np.float32]:
    """They stay the same from forecast to forecast."""
    info = CameraInfo(k=k, d=d, distortion_model=model, height=height, width=width)
    return camera_view(info, False, "camera_info").pixel_rays((height, width))
