"""Depth from the lidar of a bag, against points whose places in the map are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lidar_bag import (
    CAMERA_PLACE,
    CLOUDS,
    LIDAR_PLACE,
    START_NS,
    K,
    LidarBag,
    base_pose,
    map_from,
)
from nuscenes_set import matrix

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.evaluation.lidar.bag_clouds import LidarOptions
from dino_foresight_ros.training.evaluation.lidar.truth import CameraTruth, open_truths

CELLS = (16, 24)
OPTIONS = LidarOptions(points=CLOUDS, occlusion_deg=0)


def open_camera(
    path: Path, options: LidarOptions = OPTIONS, warnings: list[str] | None = None
) -> CameraTruth:
    recordings = open_recordings([str(path)])
    told = warnings if warnings is not None else []
    (found,) = open_truths(recordings, options, CELLS, told.append).values()
    return found


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LidarBag().write(tmp_path_factory.mktemp("drive") / "bag")


def seen_from(camera_from_map: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The depth map of points of the map, point by point."""
    found = np.full(CELLS, np.inf)
    for point in points:
        x, y, z = (camera_from_map @ [*point, 1.0])[:3]
        if not 1 <= z <= 80:
            continue
        column = math.floor((K[0] * x / z + K[2] + 0.5) / 48 * CELLS[1])
        row = math.floor((K[4] * y / z + K[5] + 0.5) / 32 * CELLS[0])
        if 0 <= column < CELLS[1] and 0 <= row < CELLS[0]:
            found[row, column] = min(found[row, column], z)
    return np.where(np.isinf(found), np.nan, found)


@pytest.mark.parametrize("number", [0, 1, 5, 11])
def test_points_are_where_they_are_at_the_pictures_instant(drive: Path, number: int) -> None:
    truth = open_camera(drive)
    found = truth.depth(START_NS + number * 100_000_000)
    want = seen_from(np.linalg.inv(map_from(CAMERA_PLACE, number * 0.1)), LidarBag().points)
    assert np.isfinite(want).sum() > 50
    np.testing.assert_allclose(found, want, atol=2e-3)  # float32 points, 60 m away


def test_what_the_clock_undoes_is_half_a_metre(drive: Path) -> None:
    """The test above would see points that were not moved: the drive is fast enough."""
    then = seen_from(np.linalg.inv(map_from(CAMERA_PLACE, 0.54)), LidarBag().points)
    now = seen_from(np.linalg.inv(map_from(CAMERA_PLACE, 0.5)), LidarBag().points)
    both = np.isfinite(then) & np.isfinite(now)
    assert np.median(np.abs(then - now)[both]) > 0.4


def test_facts_tell_what_was_done(drive: Path) -> None:
    truth = open_camera(drive)
    for number in range(3):
        truth.depth(START_NS + number * 100_000_000)
        truth.depth(START_NS + number * 100_000_000)
    facts = truth.facts()
    assert (facts.fixed_frame, facts.camera_frame, facts.points_frame) == ("map", "cam", "lidar")
    assert (facts.pictures, facts.clouds, facts.moves) == (3, 13, True)
    assert facts.mean_apart_s == pytest.approx(0.04)
    assert facts.without == {}


@pytest.mark.slow
def test_any_frame_that_stands_still_will_do(tmp_path: Path, drive: Path) -> None:
    """A root above the map, turned and far away, changes nothing."""
    bag = LidarBag(static=(*LidarBag().static, ("far", ((9.0, 9.0, 0.0), (0.6, 0.0, 0.8, 0.0)))))
    path = bag.write(tmp_path / "bag")
    stamp_ns = START_NS + 500_000_000
    want = open_camera(drive).depth(stamp_ns)
    found = open_camera(path, replace(OPTIONS, fixed_frame="map")).depth(stamp_ns)
    np.testing.assert_array_equal(found, want)


def test_in_a_frame_that_moves_along_points_stay_and_that_is_told(drive: Path) -> None:
    warnings: list[str] = []
    truth = open_camera(drive, replace(OPTIONS, fixed_frame="base_link"), warnings)
    assert not truth.moves
    assert any("cam never moves in the fixed frame base_link" in text for text in warnings)
    own = np.linalg.inv(matrix(*CAMERA_PLACE)) @ np.linalg.inv(matrix(*base_pose(0.54)))
    found = truth.depth(START_NS + 500_000_000)
    np.testing.assert_allclose(found, seen_from(own, LidarBag().points), atol=2e-3)


def test_depths_beyond_the_range_are_left_out(drive: Path) -> None:
    stamp_ns = START_NS + 300_000_000
    every = open_camera(drive).depth(stamp_ns)
    found = open_camera(drive, replace(OPTIONS, min_m=20, max_m=30)).depth(stamp_ns)
    known = np.isfinite(found)
    assert known.any()
    assert ((found[known] >= 20) & (found[known] <= 30)).all()
    np.testing.assert_array_equal(found[known], every[known])


def test_pictures_without_points_or_transforms_are_counted(tmp_path: Path) -> None:
    bag = LidarBag(
        cloud_s=[0.0, 0.1, 0.2, 0.6, 0.7], tf_s=[i * 0.02 for i in range(31)],
    )  # fmt: skip
    truth = open_camera(bag.write(tmp_path / "bag"), replace(OPTIONS, tolerance_s=0.05))
    have = [n for n in range(12) if truth.has_cloud(START_NS + n * 100_000_000)]
    got = [n for n in range(12) if truth.depth(START_NS + n * 100_000_000) is not None]
    assert have == got == [0, 1, 2, 6]
    assert truth.facts().without == {"no cloud near its time": 7, "no transform then": 1}


def test_a_camera_that_sees_no_point_is_counted(tmp_path: Path) -> None:
    bag = LidarBag(points=np.array([[-50.0, 0.0, 1.0]]))
    truth = open_camera(bag.write(tmp_path / "bag"))
    assert truth.depth(START_NS) is None
    assert truth.facts().without == {"no point in view": 1}


def test_hidden_points_are_left_out_and_counted(tmp_path: Path) -> None:
    behind = np.column_stack(
        [np.full(900, 40.0), *(a.ravel() for a in np.mgrid[-15:15:30j, -12:16:30j])]
    )
    before = np.column_stack(
        [np.full(400, 15.0), *(a.ravel() for a in np.mgrid[-2:2:20j, -1:4:20j])]
    )
    path = LidarBag(points=np.concatenate([behind, before])).write(tmp_path / "bag")
    every = open_camera(path).depth(START_NS)
    truth = open_camera(path, replace(OPTIONS, occlusion_deg=6))
    found = truth.depth(START_NS)
    left_out = np.isfinite(every) & np.isnan(found)
    assert left_out.any()
    assert (every[left_out] > 30).all()
    share = left_out.sum() / np.isfinite(every).sum()
    assert truth.facts().hidden == pytest.approx(share)


def test_rays_lead_through_the_middle_of_the_cells(drive: Path) -> None:
    rays = open_camera(drive).rays()
    for row, column in ((0, 0), (7, 20)):
        u, v = (column + 0.5) * 2 - 0.5, (row + 0.5) * 2 - 0.5
        want = ((u - K[2]) / K[0], (v - K[5]) / K[4], 1)
        assert rays[row, column] == pytest.approx(want)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"camera_info": False}, "no camera_info for /cam/image_rect; its sensor_msgs"),
        ({"clouds": False}, "no points on /lidar; its sensor_msgs/msg/PointCloud2 topics: none"),
        ({"camera_frame": "other"}, "the frame 'other' is in neither /tf nor /tf_static"),
        ({"lidar_frame": "roof"}, "the frame 'roof' is in neither"),
        ({"static": (), "tf_s": ()}, "frames there: none at all"),
        ({"cloud_s": [900.0]}, r"no cloud lies within 0\.1 s of a picture"),
        ({"k": (0.0,) * 9}, "not calibrated"),
        ({"info_size": (48, 48)}, "is for pictures of 48x48, the bag's are 48x32"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = LidarBag(**changes).write(tmp_path / "bag")
    with pytest.raises(InputError, match=words) as caught:
        open_camera(path)
    assert "\n" not in str(caught.value)
    assert "bag" in str(caught.value)


@pytest.mark.slow
def test_frames_of_two_trees_are_named(tmp_path: Path) -> None:
    bag = LidarBag(static=(("cam", CAMERA_PLACE),))
    bag.lidar_frame = "base_link"
    open_camera(bag.write(tmp_path / "one"))
    with pytest.raises(InputError, match="the frame 'earth' is in neither"):
        open_camera(tmp_path / "one", replace(OPTIONS, fixed_frame="earth"))
    two = LidarBag(tf_s=(), static=(("cam", CAMERA_PLACE),), lidar_frame="map")
    with pytest.raises(InputError, match="the frame 'map' is in neither"):
        open_camera(two.write(tmp_path / "two"))


def test_data_that_is_no_bag_is_refused() -> None:
    recordings = open_recordings(["synthetic:?frames=2&size=16x24"])
    with pytest.raises(InputError, match="is of no rosbag2"):
        open_truths(recordings, OPTIONS, CELLS, lambda text: None)


@pytest.mark.parametrize(
    "values",
    [{"min_m": 0}, {"min_m": 9, "max_m": 5}, {"tolerance_s": -1}, {"occlusion_deg": 60}],
)
def test_options_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        LidarOptions(**values)


def test_lidar_and_camera_of_the_drive_lie_apart() -> None:
    """A transform left out, or turned round, moves the points of every test above."""
    a, b = matrix(*CAMERA_PLACE), matrix(*LIDAR_PLACE)
    assert np.linalg.norm(a[:3, 3] - b[:3, 3]) > 0.5
    assert np.abs(a[:3, :3] - b[:3, :3]).max() > 0.5
