"""Cameras of a robot, and several of them as one. No ROS."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from box_world import CAR, PEDESTRIAN, Box, optical_pose, see

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles import (
    Camera,
    CameraObstacles,
    Footprint,
    GridSpec,
    ObstacleMap,
    ObstacleOptions,
    ObstaclePoints,
    obstacles_of,
)
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.recordings.camera_view import CameraView

SIZE = (88, 160)
VIEW = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), SIZE)
OPTIONS = ObstacleOptions(ground_ids=(0,), sky_ids=(9,))
FRONT_BOX = Box((6.0, -1.0, 0.0), (10.0, 1.0, 1.5), CAR)
REAR_BOX = Box((-6.0, -0.5, 0.0), (-5.5, 0.5, 1.8), PEDESTRIAN)


def found(pose: np.ndarray, still: np.ndarray) -> CameraObstacles:
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


def test_a_camera_that_saw_earlier_is_brought_to_the_instant_of_the_newest() -> None:
    """The base drives an arc at 5 m/s; the box stands, and so do both cameras' points of it."""
    pose, twist = optical_pose(pitch_deg=8.0), np.array([5.0, 0.0, 0.6])
    horizons_s, late_s, box = (0.2, 0.4, 0.6), 0.2, Box((14.0, -1.0, 0.0), (16.0, 3.0, 1.5))

    def at(seconds: float, stamp_ns: int) -> CameraObstacles:
        """What is forecast from a base that has driven so long."""
        scenes, poses = [], []
        for horizon_s in horizons_s:
            x, y, yaw = of_twist(twist, seconds + horizon_s)
            seen_from = optical_pose(x, y, 1.5, np.degrees(yaw), 8.0)
            scene = see(VIEW.pixel_rays(SIZE), seen_from, [box])
            scenes.append(replace(scene, horizon_s=horizon_s))
            poses.append(of_twist(twist, horizon_s))
        return obstacles_of(scenes, stamp_ns, Camera(VIEW, pose), np.array(poses), OPTIONS)

    def faces(points: ObstaclePoints) -> tuple[float, ...]:
        """Distance (m) of the nearest point, and between which angles (rad) all are."""
        x, y = points.xyz[:, :2].T
        angle = np.arctan2(y, x)
        return float(np.hypot(x, y).min()), float(angle.min()), float(angle.max())

    older, newer = at(0.0, 0), at(late_s, round(late_s * 1e9))
    brought = older.at(newer.stamp_ns, of_twist(twist, -late_s))
    assert brought.horizons_s == pytest.approx((0.0, 0.2, 0.4))
    grid = GridSpec(0.1, 20.0, 5.0, 10.0)
    both = ObstacleMap([newer, brought], grid, 0.0, within_s=0.3)
    alone = ObstacleMap([newer], grid, 0.0)
    assert (both.stamp_ns, both.horizons_s) == (newer.stamp_ns, newer.horizons_s)
    for step in range(3):
        assert len(both.points[step]) > 1.5 * len(alone.points[step])
        np.testing.assert_allclose(faces(both.points[step]), faces(alone.points[step]), atol=0.06)
    # The ground that both saw is the same, too: nothing of it is added but at the edges.
    added = (both.cells(1) >= 0) & (alone.cells(1) < 0)
    assert added.sum() < 0.05 * (alone.cells(1) >= 0).sum()
    # The step of the same instant is taken: the older camera's second beside the newer's first.
    assert len(both.points[0]) == len(newer.points[0]) + len(older.points[1])
    # Of instants that are too far off nothing is.
    near = ObstacleMap([newer, brought], grid, 0.0, within_s=0.05)
    assert [len(some) for some in near.points][2] == len(newer.points[2])


@pytest.mark.parametrize(
    "horizons_s",
    [(0.5, 0.5), (1.0, 0.5), (float("nan"), 1.0), (-1.0, 1.0), (0.5, float("inf")), ()],
)
def test_horizons_that_do_not_rise_from_0_on_are_refused(horizons_s: tuple[float, ...]) -> None:
    pose = optical_pose(pitch_deg=8.0)
    one = see(VIEW.pixel_rays(SIZE), pose, [FRONT_BOX])
    scenes = [replace(one, horizon_s=horizon) for horizon in horizons_s]
    with pytest.raises(InputError, match=r"must rise from 0 on|has no steps"):
        obstacles_of(scenes, 1, Camera(VIEW, pose), np.zeros((len(scenes), 3)), OPTIONS)


def test_a_step_of_which_nothing_is_known_is_not_free() -> None:
    pose = optical_pose(pitch_deg=8.0)
    seen = see(VIEW.pixel_rays(SIZE), pose, [FRONT_BOX])
    blind = replace(
        seen, depth=np.full(SIZE, np.nan, np.float32), segmentation=np.zeros(SIZE, np.uint8)
    )
    scenes = [replace(seen, horizon_s=0.2), replace(blind, horizon_s=0.4)]
    with pytest.raises(InputError, match=r"no pixel of the step 0\.4 s ahead is known"):
        obstacles_of(scenes, 1, Camera(VIEW, pose), np.zeros((2, 3)), OPTIONS)
    sky = replace(blind, segmentation=np.full(SIZE, OPTIONS.sky_ids[0], np.uint8), horizon_s=0.4)
    obstacles_of([scenes[0], sky], 1, Camera(VIEW, pose), np.zeros((2, 3)), OPTIONS)


def test_steps_of_other_maps_and_sizes_give_what_each_gives_alone() -> None:
    pose = optical_pose(pitch_deg=5.0)
    whole = see(VIEW.pixel_rays(SIZE), pose, [Box((8.0, -1.0, 0.0), (12.0, 1.0, 1.5), CAR)])
    half = replace(
        whole,
        depth=whole.depth[::2, ::2].copy(),
        segmentation=whole.segmentation[::2, ::2].copy(),
        confidence=whole.confidence[::2, ::2].copy(),
    )
    scenes = [whole, replace(whole, confidence=None), half, replace(whole, depth=1.1 * whole.depth)]
    scenes += [scenes[-1], replace(whole, segmentation=None, confidence=None)]
    scenes = [replace(scene, horizon_s=0.2 * k) for k, scene in enumerate(scenes)]
    together = obstacles_of(scenes, 1, Camera(VIEW, pose), np.zeros((len(scenes), 3)), OPTIONS)
    for k, scene in enumerate(scenes):
        alone = obstacles_of([scene], 1, Camera(VIEW, pose), np.zeros((1, 3)), OPTIONS)
        assert len(alone.points[0]) > 50
        np.testing.assert_array_equal(together.points[k].xyz, alone.points[0].xyz)
        np.testing.assert_array_equal(together.points[k].class_id, alone.points[0].class_id)
        np.testing.assert_array_equal(together.views[k].depth, alone.views[0].depth)


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


@pytest.mark.slow
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
