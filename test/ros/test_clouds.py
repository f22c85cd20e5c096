"""Depth images as clouds: every point by brute force, fields as PCL and RViz read them."""

from __future__ import annotations

import struct

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros.clouds import depth_to_points, depth_with_info, lens_problem
from dino_foresight_ros.scene import Scene

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


def test_rectified_pictures_have_the_focal_length_of_p():
    p = [22.0, 0.0, 2.1, 5.0, 0.0, 26.0, 0.9, 0.0, 0.0, 0.0, 1.0, 0.0]
    cloud = depth_to_points(depth(), None, info(p=p), Header())
    points = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 4)
    # The second pixel of the first row: the first has no depth.
    z = float(depth()[0, 1])
    np.testing.assert_allclose(points[0, :3], [(1 - 2.1) * z / 22, (0 - 0.9) * z / 26, z], 1e-5)


@pytest.mark.parametrize(
    ("changes", "size", "why"),
    [
        ({}, (2 * H, 2 * W), ""),
        ({}, None, ""),
        ({"k": [0.0] * 9}, None, "no focal length"),
        ({"k": [float("nan")] * 9}, None, "no focal length"),
        ({"width": 0, "height": 0}, None, "no image size"),
        ({"width": 0, "height": 0}, (H, W), "no image size"),
        ({"binning_x": 9}, None, "no image size"),
        ({}, (H, 2 * W), "another camera"),
    ],
)
def test_why_there_are_no_points(
    changes: dict[str, object], size: tuple[int, int] | None, why: str
):
    scene = Scene(0, depth=depth(), depth_is_metric=True)
    if not why:
        values, scaled = depth_with_info(scene, info(**changes), size)
        assert values is scene.depth
        assert (scaled.height, scaled.width) == (H, W)
        return
    with pytest.raises(InputError, match=why):
        depth_with_info(scene, info(**changes), size)


def test_points_need_metric_depth_and_a_calibration():
    metric = Scene(0, depth=depth(), depth_is_metric=True)
    relative = Scene(0, depth=depth())
    for scene, camera_info, why in (
        (Scene(0), info(), "no depth"),
        (relative, info(), "no metric depth"),
        (metric, None, "no camera_info"),
    ):
        with pytest.raises(InputError, match=why):
            depth_with_info(scene, camera_info, None)


RAW, RECTIFIED = "/cam/image_raw", "/cam/image_rect_color/compressed"


@pytest.mark.parametrize(
    ("model", "d", "topic", "is_told", "is_drawn"),
    [
        ("equidistant", [0.1, 0.0, 0.0, 0.0], RAW, True, False),
        ("fisheye", [0.1, 0.0, 0.0, 0.0], RAW, True, False),
        ("rational_polynomial", [0.1] * 8, RAW, True, True),
        ("plumb_bob", [0.1] * 5, RAW, False, True),
        # image_proc hands the camera's own D on beside pictures for which P holds.
        ("equidistant", [0.1, 0.0, 0.0, 0.0], RECTIFIED, False, True),
        ("rational_polynomial", [0.1] * 8, RECTIFIED, False, True),
        ("equidistant", [0.0] * 4, RAW, False, True),
        ("", [], RAW, False, True),
    ],
)
def test_a_lens_that_is_no_pinhole_is_told_and_of_a_fisheye_nothing_is_drawn(
    model: str, d: list[float], topic: str, is_told: bool, is_drawn: bool
) -> None:
    camera_info = info(distortion_model=model, d=d)
    problem = lens_problem(camera_info, topic)
    assert (problem is not None) == is_told
    assert problem is None or f"lens model {model}" in problem
    scene = Scene(0, depth=depth(), depth_is_metric=True)
    if is_drawn:
        depth_with_info(scene, camera_info, None, topic)
        return
    with pytest.raises(InputError, match=f"lens model {model}.*rectified images"):
        depth_with_info(scene, camera_info, None, topic)
