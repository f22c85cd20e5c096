"""A world driven from outside: what is not driven stays as it was, and contacts are exact."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.synthetic import HAZARDS, Control, Drive, World, WorldConfig
from dino_foresight_ros.synthetic.hazards import Car
from dino_foresight_ros.synthetic.identity import is_reacting
from dino_foresight_ros.synthetic.road_users import RoadUser, box_outline, gap_m

pytestmark = pytest.mark.slow

SMALL = {"width": 160, "height": 90, "view_distance_m": 90.0}


@pytest.fixture(scope="module")
def street() -> World:
    return World(WorldConfig(seed=3, scene="urban", weather="clear", **SMALL))


def keep_lane(drive: Drive, seconds: float, acceleration: float = 0.0) -> None:
    for _ in range(round(seconds / 0.2)):
        drive.step(Control(acceleration, drive.lane_curvature()), 0.2)


@pytest.mark.parametrize(
    ("seed", "t_s", "digest"),
    [
        (0, 7.3, "6b73794df188160d"),
        (3, 21.0, "0bf41ad1c00d4421"),
    ],
)
def test_what_a_seed_shows_stays_as_it_always_was(seed: int, t_s: float, digest: str) -> None:
    scene = {0: None, 3: "urban"}[seed]
    config = WorldConfig(seed=seed, width=160, height=90, scene=scene, view_distance_m=120.0)
    frame = World(config).render(t_s)
    assert hashlib.sha256(frame.segmentation.tobytes()).hexdigest()[:16] == digest


def test_driven_to_where_the_plan_has_it_the_ego_sees_the_plans_picture() -> None:
    # A seed without a vehicle ahead, which would go by the plan.
    world = World(WorldConfig(seed=0, traffic=0.0, noise=0.0, **SMALL))
    planned = world.render(4.0)
    driven = world.render(4.0, world.ego_state(4.0))
    assert np.array_equal(planned.image, driven.image)
    assert np.array_equal(planned.world_from_camera, driven.world_from_camera)


def test_the_poses_of_a_drive_are_those_of_its_speed_and_curvature(street: World) -> None:
    """Against an exact arc: however the road bends, the base goes where it is steered."""
    drive = street.drive()
    start, speed, curvature = drive.fork(), drive.ego.speed_mps, 0.02
    for _ in range(10):
        drive.step(Control(0.0, curvature), 0.2)
    angle = speed * 2.0 * curvature
    expected = np.array([np.sin(angle), 1.0 - np.cos(angle)]) / curvature
    assert start.to_base(drive.ego_xy[None])[0] == pytest.approx(expected, abs=0.05)
    assert drive.ego.yaw_rad - start.ego.yaw_rad == pytest.approx(angle, abs=1e-6)
    camera = drive.render().world_from_camera[:3, 3]
    assert camera[:2] == pytest.approx(drive.ego_xy, abs=1e-6)


def test_braking_stops_within_the_distance_of_physics(street: World) -> None:
    drive = street.drive()
    speed = drive.ego.speed_mps
    keep_lane(drive, 4.0, acceleration=-5.0)
    assert drive.ego.speed_mps == 0.0
    assert drive.travelled_m == pytest.approx(speed**2 / 10.0, rel=0.06)


def test_the_lane_is_kept_through_bends() -> None:
    world = World(WorldConfig(seed=6, scene="suburban", **SMALL))
    drive = world.drive()
    for _ in range(200):
        wanted = drive.comfortable_speed() - drive.ego.speed_mps
        drive.step(Control(float(np.clip(wanted, -3, 1)), drive.lane_curvature()), 0.2)
        assert abs(drive.ego.d_m - world.layout.ego_d_m) < 0.9
        assert not drive.is_off_road
    assert drive.travelled_m > 150.0


def test_a_fork_driven_alike_sees_alike_and_driven_otherwise_leaves_the_original(
    street: World,
) -> None:
    drive = street.drive(hazards=HAZARDS)
    keep_lane(drive, 3.0)
    same, other = drive.fork(), drive.fork()
    keep_lane(other, 2.0, acceleration=-6.0)
    keep_lane(same, 2.0)
    assert drive.t_s == pytest.approx(3.0)
    keep_lane(drive, 2.0)
    assert np.array_equal(drive.render().image, same.render().image)
    assert other.travelled_m < drive.travelled_m - 3.0
    # Those who do not react are where they are, whoever drives how.
    users = [
        {u.instance: u.at for u in d.road_users() if not is_reacting(u.instance)}
        for d in (drive, other)
    ]
    shared = users[0].keys() & users[1].keys()
    assert shared
    assert all(np.array_equal(users[0][key], users[1][key]) for key in shared)


def test_who_keeps_speed_meets_someone_the_same_in_every_process(street: World) -> None:
    met = []
    for world in (street, World(street.config)):
        drive, contact = world.drive(hazards=HAZARDS), None
        while drive.t_s < 20.0 and contact is None:
            keep_lane(drive, 0.2, drive.comfortable_speed() - drive.ego.speed_mps)
            contact = drive.contact()
        assert contact is not None
        met.append((drive.t_s, contact.instance))
    assert met[0] == met[1]


def test_outlines_lie_where_the_picture_shows_their_class(street: World) -> None:
    """Each near object that is in view covers the pixels that its outline projects to."""
    drive = street.drive(hazards=HAZARDS)
    agree = seen = 0
    for _ in range(12):
        keep_lane(drive, 1.0, -0.3)
        frame = drive.render()
        camera_from_world = np.linalg.inv(frame.world_from_camera)
        for one in drive.obstacles():
            middle = np.append(one.outline.mean(0), 0.7)
            x, y, z = (camera_from_world @ np.append(middle, 1.0))[:3]
            if not 4.0 < z < 35.0:
                continue
            u, v = (frame.k @ (x / z, y / z, 1.0))[:2].round().astype(int)
            if 0 <= u < 160 and 0 <= v < 90 and frame.depth[v, u] > z - 4.0:  # not hidden
                seen += 1
                agree += frame.segmentation[v, u] == one.class_id
    assert seen > 20
    assert agree / seen > 0.85


def test_gaps_between_outlines_are_those_of_painted_shapes() -> None:
    rng = np.random.default_rng(4)
    for _ in range(40):
        boxes = [
            box_outline(rng.uniform(-4, 4, 2), rng.uniform(0, 6), *rng.uniform(0.5, 5, 2))
            for _ in range(2)
        ]
        painted = []
        for box in boxes:
            picture = np.zeros((800, 800), np.uint8)
            cv2.fillConvexPoly(picture, np.rint((box + 8) * 50).astype(np.int32), 1)
            painted.append(picture)
        away = cv2.distanceTransform(1 - painted[0], cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / 50
        assert gap_m(*boxes) == pytest.approx(away[painted[1] > 0].min(), abs=0.06)


def test_a_walker_waits_for_an_ego_that_stands_in_its_way(street: World) -> None:
    drive = street.drive(hazards=("crossing",))

    def under_way() -> list[RoadUser]:
        users = [user for user in drive.road_users() if is_reacting(user.instance)]
        return [user for user in users if user.stride > 0]

    while not under_way():
        keep_lane(drive, 0.2)
    (walker,) = under_way()
    # The ego is set down on the crossing before the walker comes there, and stands.
    way_m = drive.to_base(walker.at[None, :2])[0, 0]
    drive.ego = drive.ego._replace(s_m=drive.ego.s_m + way_m, speed_mps=0.0)
    strides = []
    for _ in range(40):
        drive.step(Control(0.0, 0.0), 0.2)
        strides += [user.stride for user in drive.road_users() if user.instance == walker.instance]
        assert drive.contact() is None
    assert strides[0] == 1.0
    assert sum(stride == 0.0 for stride in strides) > 10


def test_an_unknown_hazard_is_refused_with_what_is_valid(street: World) -> None:
    with pytest.raises(UsageError, match=r"'meteor'.*crossing, braking, cut_in"):
        street.drive(hazards=("meteor",))


@pytest.mark.parametrize(("seed", "scene"), [(9005, "highway"), (9010, "urban")])
def test_a_car_of_the_lane_beside_comes_in_before_the_ego(seed: int, scene: str) -> None:
    """One of a slower lane, which the ego catches up with, and one of a faster lane."""
    world = World(WorldConfig(seed=seed, scene=scene, **SMALL))
    drive = world.drive(hazards=("cut_in",))
    beside = {one.instance: one for one in drive.states if isinstance(one, Car) and one.is_beside}
    lane_m = world.layout.lane_m
    assert beside
    came: set[int] = set()
    while not came:
        keep_lane(drive, 0.2, drive.comfortable_speed() - drive.ego.speed_mps)
        users = drive.road_users(60.0)
        for user in users:
            if user.instance in beside:  # in its gap of the traffic
                assert not any(
                    gap_m(user.obstacle.outline, other.obstacle.outline) == 0.0
                    for other in users
                    if other is not user and other.vehicle is not None
                )
        came = {one.instance for one in drive.states if one.instance in beside and one.drives}
        assert drive.t_s < 30.0
    (instance,) = came
    assert 0.5 < abs(beside[instance].d_m - world.layout.ego_d_m) / lane_m < 1.5
    for _ in range(25):
        keep_lane(drive, 0.2, -4.0)
    (car,) = [one for one in drive.states if one.instance == instance]
    assert abs(car.d_m - world.layout.ego_d_m) < 0.5
    assert 0.0 < car.s_m - drive.ego.s_m < 60.0
