"""Cameras of a robot, and several of them as one. No ROS."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from box_world import CAR, PEDESTRIAN, Box, optical_pose, see

from dino_foresight_ros.nodes.obstacle.mapper import Camera, ObstacleMap, obstacles_of
from dino_foresight_ros.obstacles import Footprint, GridSpec, ObstacleOptions
from dino_foresight_ros.recordings.camera_view import CameraView

SIZE = (88, 160)
VIEW = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), SIZE)
OPTIONS = ObstacleOptions(ground_ids=(0,), sky_ids=(9,))
FRONT_BOX = Box((6.0, -1.0, 0.0), (10.0, 1.0, 1.5), CAR)
REAR_BOX = Box((-6.0, -0.5, 0.0), (-5.5, 0.5, 1.8), PEDESTRIAN)


def found(pose: np.ndarray, still: np.ndarray) -> object:
    scene = replace(see(VIEW.pixel_rays(SIZE), pose, [FRONT_BOX, REAR_BOX]), horizon_s=0.2)
    return obstacles_of([scene], 1, Camera(VIEW, pose), still, OPTIONS)


def test_cameras_fuse_into_one_cloud_and_one_grid() -> None:
    still = np.zeros((1, 3))
    front = found(optical_pose(pitch_deg=8.0), still)
    rear = found(optical_pose(yaw_deg=180.0, pitch_deg=8.0), still)
    both = ObstacleMap([front, rear], GridSpec(0.1, 10.0, 10.0, 10.0), 0.0)
    assert set(both.points[0].class_id) == {CAR, PEDESTRIAN}
    cells = both.cells(0)
    assert cells[100, 160:165].max() == 100
    assert cells[100, 40:46].max() == 100
    assert cells[100, 140] == cells[100, 60] == 0
    alone = ObstacleMap([front], GridSpec(0.1, 10.0, 10.0, 10.0), 0.0)
    assert alone.cells(0)[100, 60] == -1


def test_improbable_points_are_left_out() -> None:
    pose = optical_pose()
    scene = see(VIEW.pixel_rays(SIZE), pose, [FRONT_BOX])
    faint = replace(scene, confidence=np.full(SIZE, 0.2, np.float32))
    for least, kept in ((0.1, True), (0.3, False)):
        one = obstacles_of([faint], 1, Camera(VIEW, pose), np.zeros((1, 3)), OPTIONS, least)
        assert (len(one.points[0]) > 0) == kept


@pytest.mark.parametrize(
    ("pose", "said"),
    [
        (optical_pose(), None),
        (optical_pose(pitch_deg=-80.0), "looks at the sky"),
        (optical_pose(pitch_deg=80.0), "looks at the floor"),
        (optical_pose(roll_deg=180.0), "upside down"),
        (optical_pose(z=-0.5), "0.50 m below the floor"),
    ],
)
def test_odd_mountings_are_told(pose: np.ndarray, said: str | None) -> None:
    problem = Camera(VIEW, pose).mounting_problem(0.0)
    assert problem is None if said is None else said in (problem or "")


def test_forecast_after_forecast_takes_no_more_memory() -> None:
    pose = optical_pose(pitch_deg=8.0)
    camera, robot = Camera(VIEW, pose), Footprint.circle(0.4)
    scenes = [
        replace(see(VIEW.pixel_rays(SIZE), pose, [FRONT_BOX]), horizon_s=h) for h in (0.2, 0.4)
    ]

    def take(count: int) -> None:
        for k in range(count):
            poses = np.array([[0.01 * k, 0.0, 0.0], [0.02 * k, 0.0, 0.001 * k]])
            found = obstacles_of(scenes, k, camera, poses, OPTIONS)
            seen = ObstacleMap([found], GridSpec(0.1, 10.0, 10.0, 10.0), 0.0)
            seen.swept()
            seen.contact(poses + (0.0, 0.0, 1e-3), robot, 0.5)

    tracemalloc.start()
    try:
        take(5)
        before, _ = tracemalloc.get_traced_memory()
        take(20)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000  # one depth map kept of each forecast would be 1.1 MB
