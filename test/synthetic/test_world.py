"""The synthetic world: its ground truth agrees with itself, and a seed decides everything."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import weakref

import numpy as np
import pytest

from dino_foresight_ros.classes import CLASS_IDS, MOVING_CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.synthetic import RANGES, SCENES, Frame, World, WorldConfig
from dino_foresight_ros.synthetic.config import choose_conditions

SMALL = {"width": 192, "height": 108, "view_distance_m": 90.0}
SKY = CLASS_IDS["sky"]


@pytest.fixture(scope="module")
def street() -> World:
    return World(WorldConfig(seed=6, width=320, height=180))


def points_in_world(frame: Frame) -> np.ndarray:
    """World points (H, W, 3) of all pixels, from depth, intrinsics and pose alone."""
    height, width = frame.depth.shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    (fx, _, cx), (_, fy, cy), _ = frame.k
    z = frame.depth.astype(np.float64)
    camera = np.stack([(x - cx) / fx * z, (y - cy) / fy * z, z], axis=-1)
    return camera @ frame.world_from_camera[:3, :3].T + frame.world_from_camera[:3, 3]


def seen_again(before: Frame, after: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of `before` that move to whole pixels of `after`: predicted and found depth, mask."""
    moved = points_in_world(before) - after.world_from_camera[:3, 3]
    camera = moved @ after.world_from_camera[:3, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        px = camera[..., :2] / camera[..., 2:] * after.k[0, 0] + after.k[:2, 2]
    height, width = after.depth.shape
    good = np.isfinite(px).all(-1) & (camera[..., 2] > 0.3)
    column, row = (np.rint(np.where(good, px[..., i], 0)).astype(int) for i in (0, 1))
    good &= (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = np.clip(column, 0, width - 1), np.clip(row, 0, height - 1)
    good &= before.segmentation == after.segmentation[row, column]
    return camera[..., 2], after.depth[row, column], good


@pytest.mark.slow
@pytest.mark.parametrize("t_s", [1.0, 12.0])
def test_static_pixels_reproject_onto_the_next_frames_depth(street: World, t_s: float) -> None:
    before, after = street.render(t_s), street.render(t_s + 0.1)
    assert np.linalg.norm(before.world_from_camera[:3, 3] - after.world_from_camera[:3, 3]) > 0.3
    predicted, found, good = seen_again(before, after)
    static = good & ~np.isin(before.segmentation, MOVING_CLASS_IDS)
    # Leaf polygons and edges hide one another differently; the ground and walls do not.
    solid = static & (before.segmentation != CLASS_IDS["vegetation"])
    off = np.abs(found - predicted) / predicted
    assert solid.mean() > 0.3
    assert np.mean(off[solid] < 0.02) > 0.95
    # Half a pixel of rounding moves the ground's depth by z / (f h) per metre of depth.
    assert np.median(off[solid]) < 0.006


def test_moving_objects_do_not_stay_where_static_ones_would(street: World) -> None:
    """The other way round: an oncoming car's depth shrinks faster than the pose explains."""
    for t_s in np.arange(2.0, 12.0, 1.0):
        before, after = street.render(t_s), street.render(t_s + 0.25)
        predicted, found, good = seen_again(before, after)
        car = good & (before.segmentation == CLASS_IDS["car"])
        if np.any(car & (np.abs(found - predicted) > 1.5) & (predicted < 60)):
            return
    pytest.fail("no car moved in ten seconds of a street with traffic")


def test_normals_are_the_gradient_of_depth(street: World) -> None:
    frame = street.render(3.0)
    points = points_in_world(frame) - frame.world_from_camera[:3, 3]
    points = points @ frame.world_from_camera[:3, :3]
    across, down = np.zeros_like(points), np.zeros_like(points)
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[1:-1] = points[2:] - points[:-2]
    normal = np.cross(across, down)
    with np.errstate(invalid="ignore", divide="ignore"):
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    normal *= -np.sign((normal * points).sum(-1, keepdims=True))
    # Inside a patch of one class and one normal the neighbours lie on one plane.
    inner = np.zeros(frame.depth.shape, dtype=bool)
    n = frame.normals
    inner[1:-1, 1:-1] = True
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        inner &= (np.abs(np.roll(n, shift, (0, 1)) - n) < 1e-6).all(-1)
        inner &= np.roll(frame.segmentation, shift, (0, 1)) == frame.segmentation
    inner &= frame.segmentation == CLASS_IDS["road"]
    agreement = (normal * n).sum(-1)[inner]
    assert inner.sum() > 3000
    assert np.quantile(agreement, 0.02) > 0.999


def test_normals_are_unit_vectors_that_face_the_camera(street: World) -> None:
    frame = street.render(5.0)
    solid = frame.segmentation != SKY
    points = (points_in_world(frame) - frame.world_from_camera[:3, 3])[solid]
    rays = points @ frame.world_from_camera[:3, :3]
    normals = frame.normals[solid].astype(np.float64)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    facing = (normals * rays).sum(1) / np.linalg.norm(rays, axis=1)
    assert np.mean(facing < 1e-3) > 0.999
    # The road lies below and faces up, which is -y in the optical frame.
    road = frame.normals[frame.segmentation == CLASS_IDS["road"]]
    assert np.all(road[:, 1] < -0.95)


def test_sky_and_only_sky_has_no_depth(street: World) -> None:
    frame = street.render(0.0)
    sky = frame.segmentation == SKY
    assert sky.any()
    assert np.array_equal(np.isnan(frame.depth), sky)
    assert np.array_equal(np.isnan(frame.normals).all(-1), sky)
    assert np.all(frame.depth[~sky] > 0)


@pytest.mark.slow
def test_the_camera_has_the_height_and_the_field_of_view_that_are_asked_for() -> None:
    chosen = {"camera_height_m": 1.7, "camera_roll_deg": 0.0, "horizontal_fov_deg": 90.0}
    world = World(WorldConfig(seed=2, **chosen, **SMALL))
    assert world.k[0, 0] == pytest.approx(SMALL["width"] / 2)
    assert world.k[1, 1] == world.k[0, 0]
    assert np.allclose(world.k[:2, 2], [95.5, 53.5])
    frame = world.render(2.0)
    road = frame.segmentation == CLASS_IDS["road"]
    height = np.abs(points_in_world(frame)[road][:, 2])
    assert np.quantile(height, 0.9) < 1e-3
    # Pixels on the road's far end may see up to one pixel past it.
    assert np.all(height < 1e-3 + frame.depth[road] / frame.k[0, 0])
    assert frame.world_from_camera[2, 3] == pytest.approx(1.7)


@pytest.mark.slow
def test_speed_and_yaw_rate_are_those_of_the_poses(street: World) -> None:
    step, yaw_rates = 0.02, []
    for t_s in (2.0, 15.5, 40.0, 55.5):
        now = street.render(t_s)
        before, after = (street.ego(t_s + d)[0] for d in (-step, step))
        assert np.array_equal(street.ego(t_s)[0], now.world_from_camera)
        moved = after[:3, 3] - before[:3, 3]
        assert now.speed_mps == pytest.approx(np.linalg.norm(moved) / (2 * step), abs=0.05)
        forward = [pose[:2, 2] for pose in (before, after)]
        yaw_rates.append(now.yaw_rate_rps)
        yaws = [np.arctan2(y, x) for x, y in forward]
        assert now.yaw_rate_rps == pytest.approx((yaws[1] - yaws[0]) / (2 * step), abs=0.01)
    assert max(np.abs(yaw_rates)) > 0.1


def test_ego_brakes_turns_and_goes_on(street: World) -> None:
    speeds, yaws = [], []
    for t_s in np.arange(0.0, 60.0, 0.5):
        world_from_camera, speed_mps = street.ego(float(t_s))
        speeds.append(speed_mps)
        yaws.append(np.arctan2(world_from_camera[1, 2], world_from_camera[0, 2]))
    assert max(speeds) > 6.0
    assert min(speeds) < 2.0
    assert speeds[-1] > 2.0 or max(speeds[60:]) > 6.0
    assert np.ptp(np.unwrap(yaws)) > 0.5


@pytest.mark.slow
def test_any_instant_equals_the_frame_of_the_sequence() -> None:
    config = WorldConfig(seed=3, **SMALL)
    in_order = list(World(config).frames(8))
    alone = World(config)
    for index in (7, 2, 5):
        one, other = in_order[index], alone.render(index / config.frame_rate_hz)
        assert other.index == index
        assert other.stamp_s == one.stamp_s
        for name in ("image", "segmentation", "depth", "normals", "world_from_camera"):
            assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), name


@pytest.mark.process
def test_another_process_makes_the_same_bytes() -> None:
    code = (
        "import hashlib; from dino_foresight_ros.synthetic import World, WorldConfig;"
        "f = World(WorldConfig(seed=3, width=192, height=108, view_distance_m=90)).render(1.25);"
        "print(hashlib.sha256(f.image.tobytes() + f.segmentation.tobytes() + f.depth.tobytes()"
        " + f.normals.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    f = World(WorldConfig(seed=3, **SMALL)).render(1.25)
    parts = (f.image, f.segmentation, f.depth, f.normals)
    here = hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()
    assert there.stdout.strip() == here


@pytest.mark.slow
def test_seeds_differ_and_together_show_every_class() -> None:
    found: dict[int, int] = {}
    pictures = set()
    for seed, scene in enumerate([*SCENES, "urban"]):
        chosen = {"scene": scene, "traffic": 1.0, "pedestrians": 1.0, "view_distance_m": 60.0}
        world = World(WorldConfig(seed=seed, width=160, height=90, **chosen))
        for t_s in (0.0, 6.0):
            frame = world.render(t_s)
            pictures.add(frame.image.tobytes())
            ids, counts = np.unique(frame.segmentation, return_counts=True)
            for class_id, count in zip(ids.tolist(), counts.tolist(), strict=True):
                found[class_id] = found.get(class_id, 0) + count
    assert len(pictures) == 10
    missing = [c.name for i, c in enumerate(WORLD_CLASSES) if found.get(i, 0) < 30]
    assert not missing


@pytest.mark.slow
def test_a_larger_picture_shows_the_same_view() -> None:
    small = World(WorldConfig(seed=3, width=160, height=90)).render(2.0)
    large = World(WorldConfig(seed=3, width=480, height=270)).render(2.0)
    assert large.k[0, 0] == pytest.approx(3 * small.k[0, 0])
    assert large.k[0, 2] == pytest.approx(3 * small.k[0, 2] + 1)  # the middle one of three pixels
    same = large.segmentation[1::3, 1::3] == small.segmentation
    assert same.mean() > 0.93
    ratio = large.depth[1::3, 1::3] / small.depth
    assert abs(float(np.nanmedian(ratio)) - 1) < 1e-3


@pytest.mark.slow
def test_supersampling_changes_the_picture_and_not_the_truth() -> None:
    plain = World(WorldConfig(seed=3, noise=0.0, **SMALL)).render(1.0)
    fine = World(WorldConfig(seed=3, noise=0.0, supersample=2, **SMALL)).render(1.0)
    assert np.array_equal(plain.segmentation, fine.segmentation)
    assert np.array_equal(plain.depth, fine.depth, equal_nan=True)
    difference = np.abs(plain.image.astype(int) - fine.image)
    assert 0.2 < difference.mean() < 6.0


@pytest.mark.slow
def test_motion_blur_smooths_along_the_motion() -> None:
    still = {"seed": 2, "noise": 0.0, "cruise_speed_mps": 25.0, **SMALL}
    sharp = World(WorldConfig(**still)).render(2.0).image.astype(int)
    blurred = World(WorldConfig(motion_blur_samples=4, **still)).render(2.0).image.astype(int)
    assert not np.array_equal(sharp, blurred)
    lower = slice(70, None)
    assert (
        np.abs(np.diff(blurred[lower], axis=0)).mean()
        < np.abs(np.diff(sharp[lower], axis=0)).mean()
    )


@pytest.mark.slow
def test_a_camera_that_stands_still_sees_the_traffic_move() -> None:
    world = World(WorldConfig(seed=0, cruise_speed_mps=0.0, noise=0.0, traffic=1.0, **SMALL))
    one, two = world.render(1.0), world.render(1.5)
    assert np.array_equal(one.world_from_camera, two.world_from_camera)
    assert one.speed_mps == 0.0
    changed = one.segmentation != two.segmentation
    assert 0 < changed.mean() < 0.2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scene": "moon"}, ("scene", "moon", "urban", "highway")),
        ({"weather": "snow"}, ("weather", "snow", "clear", "fog")),
        ({"width": 3}, ("width", "3", "16")),
        ({"height": 100.5}, ("height", "100.5", "whole")),
        ({"seed": -1}, ("seed", "-1")),
        ({"frame_rate_hz": 0.0}, ("frame_rate_hz", "0.1")),
        ({"frame_rate_hz": float("nan")}, ("frame_rate_hz", "nan")),
        ({"horizontal_fov_deg": 180.0}, ("horizontal_fov_deg", "180", "140")),
        ({"supersample": 9}, ("supersample", "9", "4")),
        ({"noise": -1.0}, ("noise", "-1", "30")),
        ({"traffic": 2.0}, ("traffic", "2", "1")),
    ],
)
def test_a_bad_configuration_is_refused_with_what_is_valid(
    fields: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        WorldConfig(**fields)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_negative_time_is_refused(street: World) -> None:
    with pytest.raises(UsageError, match="starts at 0"):
        street.render(-0.1)


def test_fixing_one_choice_leaves_the_others() -> None:
    free = choose_conditions(WorldConfig(seed=5))
    fixed = choose_conditions(WorldConfig(seed=5, hour=12.0))
    assert fixed.hour == 12.0
    for name in RANGES:
        value = getattr(free, name)
        assert RANGES[name].low <= value <= RANGES[name].high
        if name != "hour":
            assert getattr(fixed, name) == value


@pytest.mark.slow
def test_a_world_that_nobody_has_is_freed() -> None:
    world = World(WorldConfig(seed=3, width=64, height=36))
    world.render(0.5)
    gone = weakref.ref(world)
    del world
    gc.collect()
    assert gone() is None
