"""Depth images as clouds: every point by brute force, fields as PCL and RViz read them."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros.clouds import back_project, depth_to_points, depth_with_info
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


LENSES = {
    "equidistant": [0.05, 0.01, 0.0, 0.0],
    "fisheye": [0.05, 0.01, 0.0, 0.0],
    "rational_polynomial": [0.1, -0.02, 0.001, 0.001, 0.003, 0.01, 0.0, 0.0],
    "plumb_bob": [-0.1, 0.02, 0.001, -0.001, 0.0],
}


@pytest.mark.parametrize("model", LENSES)
def test_points_of_a_bent_picture_appear_in_the_pixels_that_they_came_from(model: str) -> None:
    d = np.array(LENSES[model])
    camera_info = info(distortion_model=model, d=d.tolist())
    scene = Scene(0, depth=depth(), depth_is_metric=True)
    values, scaled = depth_with_info(scene, camera_info, None, RAW)
    points, known = back_project(values, scaled)
    assert len(points) == known.sum() == H * W - 3
    k, none = np.array(camera_info.k).reshape(3, 3), np.zeros(3)
    project = cv2.fisheye.projectPoints if model in ("equidistant", "fisheye") else None
    if project is None:
        pixels = cv2.projectPoints(points.astype(float), none, none, k, d)[0]
    else:
        pixels = project(points.astype(float)[:, None], none, none, k, d)[0]
    v, u = np.nonzero(known)
    np.testing.assert_allclose(pixels.reshape(-1, 2), np.column_stack([u, v]), atol=1e-2)
    np.testing.assert_allclose(points[:, 2], values[known])


def test_pictures_that_were_rectified_are_not_bent_again() -> None:
    # image_proc hands the camera's own D on beside pictures for which P holds.
    camera_info = info(distortion_model="equidistant", d=LENSES["equidistant"])
    scene = Scene(0, depth=depth(), depth_is_metric=True)
    straight, _ = back_project(*depth_with_info(scene, info(), None, RAW))
    bent, _ = back_project(*depth_with_info(scene, camera_info, None, RAW))
    rectified, _ = back_project(*depth_with_info(scene, camera_info, None, RECTIFIED))
    np.testing.assert_array_equal(rectified, straight)
    assert np.abs(bent - straight).max() > 0.01


def test_an_unknown_lens_model_is_refused_by_name() -> None:
    camera_info = info(distortion_model="scaramuzza", d=[0.1] * 4)
    scene = Scene(0, depth=depth(), depth_is_metric=True)
    with pytest.raises(InputError, match="lens model 'scaramuzza'"):
        depth_with_info(scene, camera_info, None, RAW)
    depth_with_info(scene, camera_info, None, RECTIFIED)


def test_a_lens_that_leads_no_ray_through_any_pixel_is_refused() -> None:
    bent = info(d=[1e6] * 5, distortion_model="plumb_bob")
    with pytest.raises(InputError, match=r"leads no ray through any pixel"):
        depth_with_info(Scene(0, depth=depth(), depth_is_metric=True), bent, None, RAW)
