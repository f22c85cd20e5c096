"""Obstacle points against a floor with boxes, ray cast by the test itself."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from box_world import BUILDING, CAR, PEDESTRIAN, ROAD, SIDEWALK, SKY, Box, optical_pose, see

from dino_foresight_ros.classes import UNLABELLED, WORLD_CLASSES
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.obstacles import ObstacleOptions, ObstaclePoints, obstacle_points
from dino_foresight_ros.obstacles.plane import GroundPlane
from dino_foresight_ros.obstacles.points import split_scene
from dino_foresight_ros.obstacles.standing import standing_depth
from dino_foresight_ros.recordings.camera_view import CameraView

SIZE = (88, 160)
NAMES = [info.name for info in WORLD_CLASSES]
OPTIONS = ObstacleOptions.of_classes(NAMES)
VIEW = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), SIZE)
RAYS = VIEW.pixel_rays(SIZE)
CAR_BOX = Box((8.0, -1.0, 0.0), (12.0, 1.0, 1.5), CAR)
BOXES = [
    CAR_BOX,
    Box((6.0, 3.0, 0.0), (6.5, 3.5, 1.8), PEDESTRIAN),
    Box((-12.0, -6.0, 0.0), (-8.0, 6.0, 6.0), BUILDING),
]


def off_boxes(xyz: np.ndarray, boxes: list[Box]) -> np.ndarray:
    """Distance (N,) of points to the surface of the nearest box."""
    best = np.full(len(xyz), np.inf)
    for box in boxes:
        low, high = np.array(box.low), np.array(box.high)
        outside = np.linalg.norm(np.maximum(np.maximum(low - xyz, xyz - high), 0), axis=1)
        inside = np.minimum(xyz - low, high - xyz).min(axis=1)
        best = np.minimum(best, np.where(inside > 0, inside, outside))
    return best


@pytest.mark.parametrize("yaw_deg", [0.0, 90.0, 180.0, -90.0, 37.0])
@pytest.mark.parametrize("pitch_deg", [-15.0, 0.0, 12.0, 40.0])
@pytest.mark.parametrize("roll_deg", [0.0, 8.0, -30.0, 90.0, 180.0])
def test_points_lie_on_the_obstacles_whatever_the_turn_of_the_camera(
    yaw_deg: float, pitch_deg: float, roll_deg: float
) -> None:
    pose = optical_pose(0.5, 0.2, 1.4, yaw_deg, pitch_deg, roll_deg)
    scene = see(RAYS, pose, BOXES)
    found = obstacle_points(scene, RAYS, pose, OPTIONS)
    assert off_boxes(found.xyz.astype(float), BOXES).max(initial=0) < 1e-3
    assert (found.xyz[:, 2] <= OPTIONS.max_height_m + 1e-3).all()
    # Nothing of the obstacles within the limits is missing.
    depth = np.nan_to_num(scene.depth)
    xyz = (RAYS * depth[..., None]).reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    wanted = np.isin(scene.segmentation.ravel(), (CAR, PEDESTRIAN, BUILDING))
    height = xyz[:, 2] - 0.15 - 0.01 * np.hypot(xyz[:, 0], xyz[:, 1])
    least = wanted & (height > 0.01) & (xyz[:, 2] < 2.19)
    most = wanted & (height > -0.01) & (xyz[:, 2] < 2.21)
    assert least.sum() <= len(found) <= most.sum()


def test_a_known_world_has_its_car_in_the_right_place_and_of_the_right_class() -> None:
    pose = optical_pose(1.2, 0.0, 1.4, pitch_deg=5.0)
    found = obstacle_points(see(RAYS, pose, [CAR_BOX]), RAYS, pose, OPTIONS)
    assert set(found.class_id) == {CAR}
    assert float(found.xyz[:, 0].min()) == pytest.approx(8.0, rel=0.05)
    assert float(found.xyz[:, 1].min()) == pytest.approx(-1.0, rel=0.05)
    assert float(found.xyz[:, 1].max()) == pytest.approx(1.0, rel=0.05)


def test_road_of_a_wrong_class_makes_no_wall() -> None:
    pose = optical_pose(pitch_deg=5.0)
    scene = see(RAYS, pose, [])
    wrong = np.random.default_rng(1).random(SIZE) < 0.3
    ids = np.where(wrong & (scene.segmentation == ROAD), CAR, scene.segmentation).astype(np.uint8)
    assert len(obstacle_points(replace(scene, segmentation=ids), RAYS, pose, OPTIONS)) == 0


def test_a_wall_that_is_taken_for_road_stays_with_half_the_probability() -> None:
    pose = optical_pose()
    scene = see(RAYS, pose, [Box((10.0, -5.0, 0.0), (11.0, 5.0, 2.0), ROAD)])
    found = obstacle_points(scene, RAYS, pose, OPTIONS)
    assert len(found) > 100
    assert (found.probability == 0.5).all()
    assert float(found.xyz[:, 0].min()) == pytest.approx(10.0, rel=0.01)


def test_a_low_kerb_is_kept_where_its_class_is_no_ground() -> None:
    kerb = Box((-20.0, 2.0, 0.0), (40.0, 6.0, 0.14), SIDEWALK)
    pose = optical_pose(pitch_deg=10.0)
    scene = see(RAYS, pose, [kerb])
    assert len(obstacle_points(scene, RAYS, pose, OPTIONS)) == 0
    fine = ObstacleOptions.of_classes(
        NAMES, ground=("road",), min_height_m=0.06, height_per_m=0.005
    )
    found = obstacle_points(scene, RAYS, pose, fine)
    assert len(found) > 50
    assert set(found.class_id) == {SIDEWALK}
    assert float(found.xyz[:, 1].min()) > 1.99


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(3.0, 0.0), (-3.0, 2.0), (0.0, -4.0)])
def test_ground_is_found_where_the_mounting_is_off_by_degrees(
    pitch_deg: float, roll_deg: float
) -> None:
    real = optical_pose(pitch_deg=6.0)
    said = optical_pose(pitch_deg=6.0 + pitch_deg, roll_deg=roll_deg)
    found = split_scene(see(RAYS, real, [CAR_BOX]), RAYS, said, OPTIONS)
    assert found.plane.is_fitted
    assert found.plane.tilt_deg == pytest.approx(np.hypot(pitch_deg, roll_deg), abs=0.3)
    assert set(found.obstacles.class_id) == {CAR}
    assert float(found.obstacles.xyz[:, 0].min()) == pytest.approx(8.0, rel=0.06)


@pytest.mark.parametrize("factor", [0.7, 1.4])
@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(0.0, 0.0), (12.0, -5.0), (5.0, 90.0)])
def test_the_height_of_the_camera_tells_the_scale_of_depth(
    factor: float, pitch_deg: float, roll_deg: float
) -> None:
    pose = optical_pose(0.5, 0.2, 1.4, 0.0, pitch_deg, roll_deg)
    scene = see(RAYS, pose, BOXES)
    wrong = replace(scene, depth=np.float32(factor) * scene.depth)
    found = split_scene(wrong, RAYS, pose, OPTIONS)
    expected = split_scene(scene, RAYS, pose, OPTIONS)
    assert found.floor_scale == pytest.approx(1 / factor, rel=0.01)
    np.testing.assert_array_equal(found.obstacles.class_id, expected.obstacles.class_id)
    np.testing.assert_allclose(found.obstacles.xyz, expected.obstacles.xyz, atol=0.15)
    is_sky = scene.segmentation == SKY
    assert np.isposinf(found.depth[is_sky]).all()
    np.testing.assert_allclose(found.depth[~is_sky], scene.depth[~is_sky], rtol=0.02)
    unscaled = split_scene(wrong, RAYS, pose, replace(OPTIONS, max_scale=1.0))
    np.testing.assert_allclose(unscaled.depth[~is_sky], wrong.depth[~is_sky])


def test_a_scale_that_cannot_be_is_told_and_not_believed() -> None:
    pose = optical_pose(pitch_deg=5.0)
    scene = see(RAYS, pose, [CAR_BOX])
    far = replace(scene, depth=2 * scene.depth)
    found = split_scene(far, RAYS, pose, OPTIONS)
    assert found.floor_scale == pytest.approx(0.5, rel=0.02)
    assert float(found.obstacles.xyz[:, 0].min()) == pytest.approx(16.0, rel=0.02)
    with pytest.raises(UsageError, match=r"max_scale is 0.5; it must be >= 1, 1 for no scaling"):
        replace(OPTIONS, max_scale=0.5)


@pytest.mark.parametrize("pitch_deg", [-5.0, 0.0, 15.0])
def test_an_obstacle_that_seems_too_far_stands_where_it_touches_the_ground(
    pitch_deg: float,
) -> None:
    pose = optical_pose(0.5, 0.0, 1.4, 0.0, pitch_deg)
    scene = see(RAYS, pose, BOXES)
    is_person = scene.segmentation == PEDESTRIAN
    depth = np.where(is_person, 1.5 * scene.depth, scene.depth)
    found = obstacle_points(replace(scene, depth=depth), RAYS, pose, OPTIONS)
    person = found.xyz[found.class_id == PEDESTRIAN]
    # A row of pixels is half a metre of the ground there; what lies on it by its depth stays.
    assert len(person) > 50
    assert person[:, 0].min() > 5.9
    assert np.quantile(person[:, 0], 0.75) < 6.7
    others = found.xyz[found.class_id != PEDESTRIAN].astype(float)
    assert off_boxes(others, BOXES).max() < 1e-3
    left = replace(OPTIONS, contact_range_m=0.0)
    moved = obstacle_points(replace(scene, depth=depth), RAYS, pose, left)
    assert moved.xyz[moved.class_id == PEDESTRIAN][:, 0].min() > 8.0


def test_contacts_are_found_by_walking_down_each_column() -> None:
    random = np.random.default_rng(3)
    shape = (3, 20, 12)
    depth = random.uniform(4.0, 12.0, shape).astype(np.float32)
    ids = random.integers(0, 2, shape).astype(np.uint8)
    stands = random.random(shape) < 0.8
    rays = CameraView.pinhole(
        np.array([[10.0, 0, 5.5], [0, 10.0, 9.5], [0, 0, 1]]), shape[1:]
    ).pixel_rays(shape[1:])
    pose = optical_pose(0.3, 0.1, 1.2, 20.0, 10.0, 5.0)
    planes = [GroundPlane(0.02 * k, -0.01 * k, 0.1 * k) for k in range(3)]
    is_flat = random.random(shape) < 0.1
    directions = (rays @ pose[:3, :3].T).astype(np.float32)
    found = standing_depth(depth, ids, stands, is_flat, directions, pose, planes, 15.0)
    for view, row, column in np.ndindex(shape):
        expected = depth[view, row, column]
        if stands[view, row, column] and not is_flat[view, row, column]:
            low = row
            while low + 1 < shape[1] and stands[view, low + 1, column]:
                near, far = sorted((depth[view, low, column], depth[view, low + 1, column]))
                if ids[view, low, column] != ids[view, low + 1, column] or far / near >= 1.25:
                    break
                low += 1
            plane, down = planes[view], directions[low, column]
            slope = down[2] - plane.slope_x * down[0] - plane.slope_y * down[1]
            above = 1.2 - plane.slope_x * 0.3 - plane.slope_y * 0.1 - plane.height_m
            reach = above / -slope * np.hypot(down[0], down[1]) if slope < 0 else np.inf
            floor = np.hypot(*directions[row, column][:2])
            if reach <= 15.0 and expected * floor > 1.1 * reach + 0.3:
                expected = reach / floor
        assert found[view, row, column] == pytest.approx(expected, rel=1e-4)
    assert (found < depth).mean() > 0.2


def test_without_classes_the_plane_alone_takes_the_ground_out() -> None:
    pose = optical_pose(pitch_deg=8.0)
    scene = replace(see(RAYS, pose, [CAR_BOX]), segmentation=None, confidence=None)
    found = obstacle_points(scene, RAYS, pose, OPTIONS)
    assert set(found.class_id) == {UNLABELLED}
    assert off_boxes(found.xyz.astype(float), [CAR_BOX]).max() < 1e-3
    assert len(found) > 200


def test_noisy_depth_leaves_less_than_two_percent_of_the_ground() -> None:
    pose = optical_pose(pitch_deg=5.0)
    scene = see(RAYS, pose, [CAR_BOX])
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    found = obstacle_points(replace(scene, depth=scene.depth * noise), RAYS, pose, OPTIONS)
    ground = (scene.segmentation == ROAD).sum()
    assert (found.class_id == ROAD).sum() < 0.02 * ground


def test_sky_with_a_depth_gives_no_points() -> None:
    pose = optical_pose()
    scene = see(RAYS, pose, [])
    depth = np.where(scene.segmentation == SKY, np.float32(15.0), scene.depth)
    assert len(obstacle_points(replace(scene, depth=depth), RAYS, pose, OPTIONS)) == 0


def test_a_floor_below_the_base_frame_is_found_by_its_height() -> None:
    pose = optical_pose(z=1.1)
    scene = see(RAYS, pose, [], floor_m=-0.4)
    options = replace(OPTIONS, ground_z_m=-0.4)
    found = split_scene(scene, RAYS, pose, options)
    assert found.plane.height_m == pytest.approx(-0.4, abs=0.01)
    assert len(found.obstacles) == 0


def test_probability_is_confidence() -> None:
    pose = optical_pose()
    scene = see(RAYS, pose, [CAR_BOX])
    some = replace(scene, confidence=np.full(SIZE, 0.8, np.float32))
    assert obstacle_points(some, RAYS, pose, OPTIONS).probability == pytest.approx(0.8)
    assert obstacle_points(scene, RAYS, pose, OPTIONS).probability == pytest.approx(1.0)


def test_points_move_with_their_base() -> None:
    points = ObstaclePoints(
        np.array([[2.0, 0.0, 1.0]], np.float32), np.array([CAR], np.uint8), np.ones(1, np.float32)
    )
    assert points.moved([1.0, 2.0, np.pi / 2]).xyz == pytest.approx(np.array([[1.0, 4.0, 1.0]]))
    joined = ObstaclePoints.joined([points, ObstaclePoints.none(), points])
    assert len(joined) == 2


def test_what_has_no_metric_depth_is_refused_by_name() -> None:
    pose = optical_pose()
    scene = see(RAYS, pose, [])
    with pytest.raises(InputError, match="relative"):
        obstacle_points(replace(scene, depth_is_metric=False), RAYS, pose, OPTIONS)
    with pytest.raises(InputError, match="no depth"):
        obstacle_points(replace(scene, depth=None), RAYS, pose, OPTIONS)
    with pytest.raises(InputError, match="160x87, the depth is 160x88"):
        obstacle_points(scene, RAYS[1:], pose, OPTIONS)
    with pytest.raises(UsageError, match="max_height_m"):
        ObstacleOptions(max_height_m=0.1)
    with pytest.raises(UsageError, match="min_height_m is nan"):
        ObstacleOptions(min_height_m=float("nan"))


def test_depths_that_blend_into_the_sky_give_no_points() -> None:
    """A box before the sky, blurred as a head's map is that averages over edges."""
    tall = Box((8.0, -1.0, 0.0), (12.0, 1.0, 3.0), CAR)
    pose = optical_pose(z=0.4)
    scene = see(RAYS, pose, [tall])
    plain = np.where(scene.segmentation == SKY, np.float32(60.0), scene.depth)
    blurred = cv2.blur(np.where(np.isfinite(plain), plain, 60.0).astype(np.float32), (3, 3))
    options = replace(OPTIONS, max_height_m=5.0)
    found = obstacle_points(replace(scene, depth=blurred), RAYS, pose, options)
    assert len(found) > 300
    assert off_boxes(found.xyz.astype(float), [tall]).max() < 1.0
    # Edges that are sharp stay whole.
    is_car = scene.segmentation.ravel() == CAR
    depths = np.flatnonzero(is_car)
    upper = depths[depths < np.median(depths)]
    assert set(upper) <= set(split_scene(scene, RAYS, pose, options).pixels)


def test_an_unsure_outline_before_the_sky_is_left_out_but_thin_things_stay() -> None:
    """A box whose class and depth reach a pixel too far, as a head's map does, beside a pole."""
    pole = Box((8.0, 3.0, 0.0), (8.1, 3.1, 2.0), CAR)
    pose = optical_pose(z=0.4)
    scene = see(RAYS, pose, [Box((8.0, -1.0, 0.0), (12.0, 1.0, 2.0), CAR), pole])
    is_pole = (scene.segmentation == CAR) & (np.arange(SIZE[1]) < 60)
    is_box = (scene.segmentation == CAR) & ~is_pole
    wide = cv2.dilate(is_box.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
    is_edge = wide & (scene.segmentation == SKY)
    assert is_pole.any(axis=0).sum() in (1, 2)
    assert is_edge.sum() > 30

    def kept(confidence: float) -> np.ndarray:
        some = replace(
            scene,
            depth=np.where(is_edge, np.float32(8.0), scene.depth),
            segmentation=np.where(is_edge, CAR, scene.segmentation).astype(np.uint8),
            confidence=np.where(is_edge | is_pole, np.float32(confidence), np.float32(1)),
        )
        found = np.zeros(SIZE, bool)
        found.reshape(-1)[split_scene(some, RAYS, pose, OPTIONS).pixels] = True
        return found

    unsure, certain = kept(0.7), kept(0.95)
    assert certain[is_edge].mean() > 0.9
    assert not unsure[is_edge].any()
    assert certain[is_pole].mean() > 0.8
    # The foot of the pole lies beside the ground.
    assert (unsure != certain)[~is_edge].sum() <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 0.0, -3.0, 1e38])
def test_depths_that_nothing_can_have_are_left_out_without_a_warning(value: float) -> None:
    pose = optical_pose(pitch_deg=5.0)
    scene = see(RAYS, pose, [CAR_BOX])
    is_car = scene.segmentation == CAR
    is_bad = is_car & (np.arange(SIZE[1]) % 2 == 0)
    found = split_scene(
        replace(scene, depth=np.where(is_bad, np.float32(value), scene.depth), segmentation=None),
        RAYS, pose, OPTIONS,
    )  # fmt: skip
    assert 100 < len(found.obstacles) <= is_car.sum() - is_bad.sum()
    assert not set(found.pixels) & set(np.flatnonzero(is_bad))
