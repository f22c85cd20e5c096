"""The camera of a bag's pictures, on the Recording: intrinsics by camera_info, place by TF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dino_foresight_ros.recordings import CameraModel, open_recordings
from dino_foresight_ros.recordings import bag_messages as messages
from dino_foresight_ros.recordings.bag_topics import CAMERA_INFO_TYPE
from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.recordings.camera_view import camera_view, view_of_model
from dino_foresight_ros.recordings.poses import Transform, mounting

MOUNT = mounting([0.3, -0.1, 1.2, 0.0, 8.0, 25.0])
SIZE = (24, 40)
RAW = CameraModel(40, 24, (30.0, 0.0, 21.0, 0.0, 31.0, 11.0, 0.0, 0.0, 1.0), (0.1, 0.0, 0.0, 0.0))


def record(path: Path, topic: str, **changes: object) -> object:
    """A bag of one picture and its camera_info, which is returned."""
    info = messages.camera_info(RAW, 1, "optical")
    info.d = np.array([0.1, 0.01, 0.001, 0.002, 0.0])
    for name, value in changes.items():
        setattr(info, name, value)
    with create_bag(path) as writer:
        place = (1, "base_link", "optical", Transform.of(MOUNT))
        writer.write("/tf_static", "tf2_msgs/msg/TFMessage", 1, messages.transforms([place]),
                     latched=True)  # fmt: skip
        writer.write_image(topic, np.zeros((*SIZE, 3), np.uint8), 1, "optical")
        writer.write("/cam/camera_info", CAMERA_INFO_TYPE, 1, info)
    return info


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


STEREO = {
    "r": turned(4.0).ravel(),
    "p": np.array([28.0, 0, 20.0, -28.0 * 0.12, 0, 28.0, 12.0, 0, 0, 0, 1.0, 0]),
}
"""The right camera of a pair, 12 cm beside the left one."""


@pytest.mark.parametrize("topic", ["/cam/image_raw", "/cam/image_rect"])
def test_a_recording_looks_where_its_camera_info_and_its_transforms_say(
    tmp_path: Path, topic: str
) -> None:
    """A point of the base falls on the pixel that the message's own K, D or P, R give."""
    info = record(tmp_path / "bag", topic, **STEREO)
    (recording,) = open_recordings([f"bag:{tmp_path / 'bag'}"])
    assert recording.camera is not None
    assert recording.base_from_optical is not None
    points = np.array([[4.0, 1.5, 0.4], [9.0, 4.0, 1.0], [6.0, 3.2, 0.8]])  # in the base
    if topic.endswith("rect"):
        optical = np.linalg.inv(MOUNT) @ np.vstack([points.T, np.ones(3)])
        turn = np.eye(4)
        turn[:3, :3] = STEREO["r"].reshape(3, 3)
        pixels = STEREO["p"].reshape(3, 4) @ turn @ optical
        expected = ((pixels[:2] / pixels[2]).T + 0.5) / (SIZE[1], SIZE[0])
    else:
        optical = (np.linalg.inv(MOUNT) @ np.vstack([points.T, np.ones(3)]))[:3].T
        expected = camera_view(info, False, "info").project(optical)[0]
    view = view_of_model(recording.camera, "bag")
    mine = np.linalg.inv(recording.base_from_optical) @ np.vstack([points.T, np.ones(3)])
    np.testing.assert_allclose(view.project(mine[:3].T)[0], expected, atol=1e-6)
    assert (np.abs(expected - 0.5) < 0.5).all(), "the points are not in the picture"


def test_a_region_of_interest_moves_the_optical_axis(tmp_path: Path) -> None:
    roi = messages.whole_image()
    roi.x_offset, roi.y_offset, roi.width, roi.height = 10, 4, 40, 24
    info = record(tmp_path / "bag", "/cam/image_raw", roi=roi, width=64, height=48)
    (recording,) = open_recordings([f"bag:{tmp_path / 'bag'}"])
    assert recording.camera is not None
    rays = view_of_model(recording.camera, "bag").pixel_rays(SIZE)
    expected = camera_view(info, False, "info").pixel_rays(SIZE)
    np.testing.assert_allclose(rays, expected, atol=1e-6)


def test_a_bag_without_transforms_or_camera_info_tells_neither(tmp_path: Path) -> None:
    with create_bag(tmp_path / "bag") as writer:
        writer.write_image("/cam/image_raw", np.zeros((*SIZE, 3), np.uint8), 1, "optical")
    (recording,) = open_recordings([f"bag:{tmp_path / 'bag'}"])
    assert recording.camera is None
    assert recording.base_from_optical is None
