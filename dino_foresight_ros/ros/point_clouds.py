"""Depth images as point clouds in the camera's optical frame."""

from __future__ import annotations

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from std_msgs.msg import Header

_POINT_BYTES = 16


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
        info: intrinsics of these images (K; distortion is not undone: predicted images are of the
            camera's own view, so give a rectified one for exact points).
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
    data = array.array("B")
    data.frombytes(points.tobytes())
    fields = [
        PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
        for name, offset in (("x", 0), ("y", 4), ("z", 8), ("rgb", 12))
    ]
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=_POINT_BYTES,
        row_step=_POINT_BYTES * len(points),
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
        info: intrinsics of these images.
        stride: 1 takes every pixel.
        max_depth_m: farther points are left out.

    Returns:
        (N, 3) float32 positions in the optical frame, metres, row by row; and which of
        depth[::stride, ::stride] they are, bool.

    Raises:
        ValueError: the info has another size or no focal length.
    """
    height, width = depth.shape
    fx, fy, cx, cy = float(info.k[0]), float(info.k[4]), float(info.k[2]), float(info.k[5])
    if (info.height, info.width) != (height, width):
        raise ValueError(
            f"camera_info is for {info.width}x{info.height}, the depth is {width}x{height}"
        )
    if not (fx > 0 and fy > 0):
        raise ValueError("camera_info has no focal length: the camera is not calibrated")
    v, u = np.mgrid[0:height:stride, 0:width:stride]
    z = depth[::stride, ::stride]
    with np.errstate(invalid="ignore"):
        known = np.isfinite(z) & (z > 0) & (z <= max_depth_m)
    z, u, v = z[known], u[known], v[known]
    positions = np.stack([(u - cx) * z / fx, (v - cy) * z / fy, z], axis=-1)
    return positions.astype(np.float32), known
