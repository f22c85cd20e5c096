"""Camera calibration after a resize, against the projection of points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.camera_view import focal_of
from dino_foresight_ros.ros import camera_info
from dino_foresight_ros.ros.camera_info import FocalInput, fits, image_size_of, scale_camera_info


def calibration(height: int = 540, width: int = 960) -> CameraInfo:
    info = CameraInfo(height=height, width=width, distortion_model="plumb_bob")
    info.header.frame_id = "camera"
    info.d = [0.1, -0.2, 0.003, 0.004, 0.05]
    info.k = [700.0, 0.0, 470.0, 0.0, 710.0, 280.0, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [690.0, 0.0, 465.0, -50.0, 0.0, 695.0, 275.0, 3.0, 0.0, 0.0, 1.0, 0.0]
    return info


def project(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Pixel (x, y) of a point, by a 3x3 or 3x4 matrix."""
    x, y, w = matrix @ point
    return np.array([x / w, y / w])


@given(
    height=st.integers(1, 2000),
    width=st.integers(1, 2000),
    x=st.floats(-2, 2),
    y=st.floats(-2, 2),
    z=st.floats(1, 50),
)
def test_points_project_to_resized_pixels(
    height: int, width: int, x: float, y: float, z: float
) -> None:
    info = calibration()
    scaled = scale_camera_info(info, (height, width))
    factors = np.array([width / 960, height / 540])
    for name, columns, point in (("k", 3, [x, y, z]), ("p", 4, [x, y, z, 1.0])):
        before = np.array(getattr(info, name)).reshape(3, columns)
        after = np.array(getattr(scaled, name)).reshape(3, columns)
        expected = project(before, np.array(point)) * factors
        assert project(after, np.array(point)) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_what_holds_for_normalised_coordinates_stays() -> None:
    info = calibration()
    scaled = scale_camera_info(info, (72, 128))
    assert (scaled.height, scaled.width) == (72, 128)
    assert list(scaled.d) == list(info.d)
    assert list(scaled.r) == list(info.r)
    assert scaled.distortion_model == "plumb_bob"
    assert (info.height, info.k[0]) == (540, 700.0)


def test_region_and_binning_are_applied_and_gone() -> None:
    info = calibration()
    info.roi = RegionOfInterest(x_offset=100, y_offset=40, width=400, height=300)
    info.binning_x, info.binning_y = 2, 4
    assert image_size_of(info) == (75, 200)
    scaled = scale_camera_info(info, (75, 200))
    point = np.array([0.3, -0.2, 2.0])
    before = project(np.array(info.k).reshape(3, 3), point)
    expected = (before - [100, 40]) / [2, 4]
    assert project(np.array(scaled.k).reshape(3, 3), point) == pytest.approx(expected)
    assert scaled.roi == RegionOfInterest()
    assert (scaled.binning_x, scaled.binning_y) == (0, 0)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((540, 960), True), ((270, 480), True), ((271, 480), True), ((480, 640), False)],
)
def test_calibration_fits_images_of_its_aspect_only(size: tuple[int, int], expected: bool) -> None:
    assert fits(calibration(), size) is expected


def test_empty_calibration_fits_nothing() -> None:
    assert not fits(CameraInfo(), (540, 960))


def test_a_focal_length_is_read_again_where_anything_but_the_header_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[bool] = []

    def read(info: CameraInfo, rectified: bool, name: str) -> float:
        reads.append(rectified)
        return focal_of(info, rectified, name)

    monkeypatch.setattr(camera_info, "focal_of", read)
    known, size = FocalInput(), (540, 960)
    infos = [calibration() for _ in range(5)]
    infos[1].header.stamp.sec = 7
    infos[2].k = [350.0, *infos[2].k[1:]]
    infos[3].roi = RegionOfInterest(height=270, width=480)
    area = np.sqrt(540 * 960)
    of_k, of_p = np.sqrt([700 * 710, 690 * 695]) / area
    wanted = [of_k, of_k, of_k / np.sqrt(2), 2 * of_k, of_k]
    found = [known.read(info, "/camera/image_raw", size) for info in infos]
    assert found == pytest.approx(wanted)
    assert len(reads) == 4
    assert known.read(calibration(), "/camera/image_rect", size) == pytest.approx(of_p)
    with pytest.raises(InputError, match="they are 960x100"):
        known.read(calibration(), "/camera/image_rect", (100, 960))
    uncalibrated = CameraInfo(height=540, width=960)
    for _ in range(2):
        with pytest.raises(InputError, match="no focal length"):
            known.read(uncalibrated, "/camera/image_raw", size)
