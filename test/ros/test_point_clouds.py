"""Depth images as clouds: every point by brute force, fields as PCL and RViz read them."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dino_foresight_ros.ros.point_clouds import depth_to_points

H, W = 5, 7


def info(**changes: object) -> CameraInfo:
    k = [11.0, 0.0, 3.1, 0.0, 13.0, 1.9, 0.0, 0.0, 1.0]
    return CameraInfo(**{"width": W, "height": H, "k": k, **changes})


def depth() -> np.ndarray:
    values = np.linspace(1, 30, H * W, dtype=np.float32).reshape(H, W)
    values[0, 0] = np.nan
    values[1, 2] = np.inf
    values[2, 4] = 0.0
    return values


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_points_are_the_back_projected_pixels_with_a_depth(stride: int):
    colors = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    cloud = depth_to_points(depth(), colors, info(), Header(frame_id="cam"), stride, 25.0)
    wanted = []
    for v in range(0, H, stride):
        for u in range(0, W, stride):
            z = float(depth()[v, u])
            if np.isfinite(z) and 0 < z <= 25.0:
                wanted.append(((u - 3.1) * z / 11, (v - 1.9) * z / 13, z, *colors[v, u]))
    offsets = {field.name: field.offset for field in cloud.fields}
    data = bytes(cloud.data)
    got = []
    for i in range(cloud.width):
        start = i * cloud.point_step
        xyz = [struct.unpack_from("<f", data, start + offsets[n])[0] for n in "xyz"]
        packed = struct.unpack_from("<I", data, start + offsets["rgb"])[0]
        got.append((*xyz, packed >> 16 & 255, packed >> 8 & 255, packed & 255))
    assert len(got) == len(wanted)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    assert cloud.header.frame_id == "cam"
    assert cloud.row_step == len(data)


def test_an_uncalibrated_camera_or_another_size_is_refused():
    with pytest.raises(ValueError, match="no focal length"):
        depth_to_points(depth(), None, info(k=[0.0] * 9), Header())
    with pytest.raises(ValueError, match="camera_info is for 8x5"):
        depth_to_points(depth(), None, info(width=8), Header())
