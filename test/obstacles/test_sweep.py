"""The footprint's way through obstacles, against answers that are known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from box_world import CAR, PEDESTRIAN, Box, optical_pose, see

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles import (
    Footprint,
    GroundView,
    GroundViews,
    ObstaclePoints,
    PointRows,
    sweep,
    sweep_trajectories,
    thinned,
)
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.recordings.camera_view import CameraView

ROBOT = Footprint([(0.5, 0.4), (0.5, -0.4), (-0.5, -0.4), (-0.5, 0.4)])


def wall(x: float, y: float = 0.0, class_id: int = CAR, probability: float = 0.9) -> ObstaclePoints:
    """A post of points around (x, y)."""
    xyz = np.array([(x, y + 0.01 * i, 0.5) for i in range(-3, 4)], np.float32)
    return ObstaclePoints(
        xyz, np.full(len(xyz), class_id, np.uint8), np.full(len(xyz), probability, np.float32)
    )


def straight(speed_mps: float, horizons_s: list[float]) -> np.ndarray:
    return np.array([(speed_mps * t, 0.0, 0.0) for t in horizons_s])


def test_a_wall_ahead_is_met_when_the_front_reaches_it() -> None:
    horizons = [0.5, 1.0, 1.5, 2.0]
    found = sweep([wall(2.0)] * 4, straight(1.0, horizons), ROBOT, horizons)
    assert found.time_to_contact_s == pytest.approx(1.5, abs=0.2)
    assert found.distance_m == pytest.approx(1.5, abs=0.2)
    assert (found.class_id, found.contact) == (CAR, True)
    assert found.probability == pytest.approx(0.9)
    chances = [step.probability_occupied for step in found.steps]
    assert chances[:2] == [0.0, 0.0]
    assert chances[3] == pytest.approx(0.9)
    assert [step.least_distance_m for step in found.steps][:2] == pytest.approx([1.0, 0.5])
    assert math.isnan(found.steps[0].unknown)


def test_what_crosses_is_met_only_if_it_is_there_when_the_robot_is() -> None:
    horizons = [1.0, 2.0, 3.0]
    there = [wall(2.0, -4.0), wall(2.0, 0.0, PEDESTRIAN), wall(2.0, 4.0)]
    found = sweep(there, straight(1.0, horizons), ROBOT, horizons)
    assert found.class_id == PEDESTRIAN
    gone = [wall(2.0, -1.0), wall(2.0, 2.0), wall(2.0, 4.0)]
    missed = sweep(gone, straight(1.0, horizons), ROBOT, horizons)
    assert not missed.contact
    assert missed.time_to_contact_s == math.inf
    assert missed.steps[2].class_id == CAR  # the nearest


def test_a_turning_robot_meets_what_its_corner_sweeps() -> None:
    long = Footprint([(2.0, 0.3), (2.0, -0.3), (-0.3, -0.3), (-0.3, 0.3)])
    turn = np.array([(0.0, 0.0, np.pi / 2)])
    assert sweep([wall(1.2, 1.2)], turn, long, [1.0]).contact
    assert not sweep([wall(1.2, -1.2)], turn, long, [1.0]).contact


def test_every_turn_of_the_world_gives_the_same_answer() -> None:
    horizons = [0.5, 1.0, 1.5]
    way = straight(2.0, horizons)
    there = [wall(2.2, 0.1)] * 3
    expected = sweep(there, way, ROBOT, horizons)
    for yaw in np.linspace(-3, 3, 7):
        turned = [points.moved((0.0, 0.0, yaw)) for points in there]
        # The base starts turned: an instant at horizon 0 says so.
        poses = way @ np.array(
            [[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        )
        poses[:, 2] += yaw
        found = sweep(
            [ObstaclePoints.none(), *turned],
            np.concatenate([[(0, 0, yaw)], poses]),
            ROBOT,
            [0.0, *horizons],
        )
        assert found.steps[-1].probability_occupied == pytest.approx(0.9)
        assert found.time_to_contact_s == pytest.approx(expected.time_to_contact_s)


def test_single_pixels_and_improbable_points_are_no_contact() -> None:
    few = ObstaclePoints(
        np.array([[1.0, 0, 0.5], [1.0, 0.1, 0.5]], np.float32),
        np.full(2, CAR, np.uint8),
        np.ones(2, np.float32),
    )
    assert sweep([few], straight(1.0, [1.0]), ROBOT, [1.0]).steps[0].probability_occupied == 0
    faint = sweep([wall(1.0, probability=0.3)], straight(1.0, [1.0]), ROBOT, [1.0])
    assert not faint.contact
    assert faint.steps[0].probability_occupied == pytest.approx(0.3)


def test_an_unknown_way_is_unknown_from_there_on() -> None:
    poses = np.array([(0.2, 0, 0), (np.nan, 0, 0), (0.6, 0, 0)])
    found = sweep([wall(9.0)] * 3, poses, ROBOT, [0.2, 0.4, 0.6])
    assert [math.isnan(s.probability_occupied) for s in found.steps] == [False, True, True]


def test_distances_and_inside_match_brute_force() -> None:
    random = np.random.default_rng(3)
    star = [(2, 0), (0.5, 0.5), (0, 2), (-0.5, 0.5), (-2, 0), (-0.5, -0.5), (0, -2), (0.5, -0.5)]
    shape = Footprint(star)
    places = random.uniform(-3, 3, (400, 2))
    corners = np.array(star, float)
    shares = np.linspace(0, 1, 400)[:, None, None]
    outline = corners + shares * (np.roll(corners, -1, axis=0) - corners)
    brute = np.linalg.norm(places[:, None, None] - outline, axis=-1).min((1, 2))
    # The winding number, by the angles under which the corners are seen.
    to = corners - places[:, None]
    angles = np.arctan2(to[..., 1], to[..., 0])
    turns = (np.roll(angles, -1, axis=1) - angles + np.pi) % (2 * np.pi) - np.pi
    inside = np.abs(turns.sum(1)) > np.pi
    assert 0.05 < inside.mean() < 0.5
    assert (shape.distance(places) == 0).tolist() == inside.tolist()
    assert shape.distance(places)[~inside] == pytest.approx(brute[~inside], abs=0.01)


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.7, 0.1), (2.0, -1.0)])
def test_least_distance_is_that_of_all_points_wherever_the_origin_lies(offset: tuple) -> None:
    random = np.random.default_rng(7)
    shape = Footprint(np.array([(1.0, 0.3), (1.0, -0.3), (-0.4, -0.3), (-0.4, 0.3)]) + offset, 0.1)
    for spread in (0.5, 3.0, 9.0):
        xyz = np.column_stack([random.normal(0, spread, (60, 2)), np.ones(60)]).astype(np.float32)
        points = ObstaclePoints(xyz, np.full(60, CAR, np.uint8), np.ones(60, np.float32))
        brute = np.sort(shape.distance(xyz[:, :2]))[0]
        found = sweep([points], np.zeros((1, 3)), shape, [0.0], min_points=1)
        assert found.steps[0].least_distance_m == pytest.approx(brute, abs=1e-6)
        assert found.contact == (brute == 0)


def test_padding_makes_a_robot_larger() -> None:
    padded = Footprint(ROBOT.corners, padding_m=0.3)
    assert padded.contains(np.array([(0.79, 0.0)]))[0]
    assert not padded.contains(np.array([(0.81, 0.0)]))[0]
    assert Footprint.circle(0.5).contains(np.array([(0.0, 0.499)]))[0]


def test_the_unknown_share_is_what_no_view_sees() -> None:
    camera = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), (88, 160))
    pose = optical_pose(z=1.5, pitch_deg=10.0)
    rays = camera.pixel_rays((88, 160))
    far = np.array([(8.0, 0.0, 0.0)])
    box = Box((5.0, -3.0, 0.0), (5.5, 3.0, 2.5))
    shares = {}
    for name, boxes in {"open": [], "behind": [box]}.items():
        view = GroundView(camera, pose, see(rays, pose, boxes).depth)
        none = ObstaclePoints.none()
        start = sweep([none, none], np.array([(7.9, 0, 0), *far]), ROBOT, [0.0, 1.0],
                      views=[[view], [view]])  # fmt: skip
        shares[name] = start.steps[-1].unknown
    assert shares["open"] == 0.0
    assert shares["behind"] > 0.8


@pytest.mark.parametrize(
    ("corners", "said"),
    [
        ([], "3 or more corners"),
        ([(0, 0), (1, 0)], "3 or more corners"),
        ([(0, 0), (1, 0), (2, 0)], "no area"),
        ([(0, 0), (1, 0), (float("nan"), 1)], "not a number"),
    ],
)
def test_footprints_without_an_area_are_refused(corners: list, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Footprint(corners)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(UsageError, match="2 horizons got points of 1"):
        sweep([wall(1.0)], straight(1.0, [1.0, 2.0]), ROBOT, [1.0, 2.0])
    rows = [PointRows.of([wall(1.0)])]
    for times_s, said in (([0.4, 0.9], "do not hold all horizons"), ([0.4, 0.3], "must rise")):
        with pytest.raises(UsageError, match=said):
            sweep_trajectories(rows, np.zeros((1, 2, 3)), ROBOT, [1.0], times_s=times_s)
    with pytest.raises(UsageError, match="must rise"):
        sweep([wall(1.0)] * 2, straight(1.0, [1.0, 1.0]), ROBOT, [1.0, 1.0])


CAMERA = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), (88, 160))


def sinc(angle: float) -> float:
    return math.sin(angle) / angle if angle else 1.0


def on_arc(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """By the chord until there: it is seen under half the angle that is turned until then."""
    turn = math.remainder(end[2] - start[2], 2 * math.pi)
    whole, part = turn / 2, share * turn / 2
    length = share * math.dist(start[:2], end[:2]) * sinc(part) / sinc(whole)
    angle = math.atan2(end[1] - start[1], end[0] - start[0]) + part - whole
    return start[:2] + length * np.array([math.cos(angle), math.sin(angle)])


def plain_sweep(
    points: list[ObstaclePoints],
    poses: np.ndarray,
    shape: Footprint,
    horizons_s: list[float],
    views: list[GroundView],
    step_m: float,
) -> list[tuple[float, float, int, float, float]]:
    """Setting by setting: probability, distance, class, unknown, contact until each horizon."""
    best, least, class_id, hidden, looked = 0.0, math.inf, 255, 0, 0
    contact_s, before, before_s, found = math.inf, np.zeros(3), 0.0, []
    for row, (pose, time_s) in enumerate(zip(poses, horizons_s, strict=True)):
        if time_s == 0:
            before = pose
        turn = math.remainder(pose[2] - before[2], 2 * math.pi)
        arc = math.dist(pose[:2], before[:2]) / sinc(turn / 2)
        count = max(1, math.ceil((arc + abs(turn) * shape.radius_m) / step_m))
        for k in range(1 if row or time_s == 0 else 0, count + 1):
            share = k / count
            x, y = on_arc(before, pose, share)
            yaw = before[2] + share * turn
            some = points[row] if share >= 0.5 or row == 0 else points[row - 1]
            c, s = math.cos(yaw), math.sin(yaw)
            at = (some.xyz[:, :2] - (x, y)) @ np.array([[c, -s], [s, c]])
            if len(some) >= 3:
                off = shape.distance(at)
                order = np.argsort(off, kind="stable")[:3]
                if off[order[2]] < least and best == 0:
                    class_id = int(np.bincount(some.class_id[order]).argmax())
                least = min(least, float(off[order[2]]))
                inside = np.flatnonzero(off <= 0)
                if len(inside) >= 3:
                    inside = inside[np.argsort(-some.probability[inside], kind="stable")[:3]]
                    probability = float(some.probability[inside[2]])
                    if probability > best:
                        best = probability
                        class_id = int(np.bincount(some.class_id[inside]).argmax())
                    if probability >= 0.5:
                        contact_s = min(contact_s, before_s + share * (time_s - before_s))
            cells = shape.cells @ np.array([[c, s], [-s, c]]) + (x, y)
            seen = np.any([view.sees(cells) for view in views[: row + 1]], axis=0)
            hidden, looked = hidden + int((~seen).sum()), looked + len(cells)
        before, before_s = pose, time_s
        found.append((best, least, class_id, hidden / looked, contact_s))
    return found


@pytest.mark.parametrize("times_s", [[4.0], [1.0, 2.0, 4.0], [0.5 * k for k in range(1, 9)]])
def test_what_stands_on_an_arc_is_met_however_far_apart_the_horizons_are(
    times_s: list[float],
) -> None:
    twist, small = (1.0, 0.0, 0.7), Footprint.circle(0.2)
    poses = of_twist(np.broadcast_to(twist, (len(times_s), 3)), times_s)
    for at_s in (1.0, 2.0, 3.0):
        x, y, _ = of_twist(twist, at_s)
        there = [wall(x, y)] * len(times_s)
        found = sweep(there, poses, small, times_s)
        assert found.time_to_contact_s == pytest.approx(at_s - 0.2, abs=0.2)
        assert found.distance_m == pytest.approx(found.time_to_contact_s)  # at 1 m/s
    centre = [wall(0.0, 1 / 0.7)] * len(times_s)
    inside = sweep(centre, poses, small, times_s)
    assert not inside.contact
    assert inside.steps[-1].least_distance_m == pytest.approx(1 / 0.7 - 0.2, abs=0.05)


def test_way_that_is_known_between_horizons_is_swept_as_it_is() -> None:
    """A full circle, and one that is left: at the only horizon both are as if nothing moved."""
    times_s, small = [0.25 * k for k in range(1, 17)], Footprint.circle(0.2)
    circle = of_twist(np.broadcast_to((2.0, 0.0, math.pi / 2), (16, 3)), times_s)
    stands = np.zeros((16, 3))
    far_side = wall(0.0, 2 * 2.0 / (math.pi / 2))
    points = [PointRows.of([far_side, far_side])]
    ways = np.stack([circle, stands])
    goes, stays = sweep_trajectories(points, ways, small, [4.0], times_s=times_s)
    assert goes.time_to_contact_s == pytest.approx(2.0, abs=0.2)
    assert goes.distance_m == pytest.approx(2 * goes.time_to_contact_s)
    assert not stays.contact
    only = sweep_trajectories(points, ways[:, -1:], small, [4.0])
    assert not only[0].contact


def test_instants_between_horizons_change_nothing_of_an_even_way() -> None:
    random = np.random.default_rng(2)
    twists = np.column_stack([random.uniform(-2, 2, (20, 2)), random.uniform(-1, 1, 20)])
    horizons_s, times_s = [0.0, 0.5, 1.5], [0.0, 0.2, 0.5, 0.6, 0.9, 1.1, 1.5]
    xyz = random.uniform((-3, -3, 0.2), (3, 3, 1.8), (3, 60, 3)).astype(np.float32)
    points = [
        ObstaclePoints(some, np.full(60, CAR, np.uint8), random.uniform(0, 1, 60).astype("f4"))
        for some in xyz
    ]
    rows = [PointRows.of([some] * 20) for some in points]

    def poses(instants: list[float]) -> np.ndarray:
        return np.stack([of_twist(twists, np.full(20, t)) for t in instants], axis=1)

    few = sweep_trajectories(rows, poses(horizons_s), ROBOT, horizons_s)
    many = sweep_trajectories(rows, poses(times_s), ROBOT, horizons_s, times_s=times_s)
    for one, other in zip(few, many, strict=True):
        assert other.time_to_contact_s == pytest.approx(one.time_to_contact_s)
        for step, its in zip(one.steps, other.steps, strict=True):
            assert its.least_distance_m == pytest.approx(step.least_distance_m, abs=1e-6)
            assert its.probability_occupied == pytest.approx(step.probability_occupied)
    unknown = poses(times_s)
    unknown[:, 4] = np.nan
    found = sweep_trajectories(rows, unknown, ROBOT, horizons_s, times_s=times_s)
    assert [math.isnan(step.least_distance_m) for step in found[0].steps] == [False, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("starts_now", [True, False])
def test_all_ways_at_once_are_as_each_one_setting_by_setting(starts_now: bool) -> None:
    random = np.random.default_rng(5)
    horizons_s = [0.0, 0.4, 0.8, 1.2] if starts_now else [0.4, 0.8, 1.2]
    ways, steps = 12, len(horizons_s)
    poses = random.normal(0, (2.5, 2.0, 0.8), (ways, steps, 3))
    if starts_now:
        poses[:, 0] = 0.0

    def clutter(count: int) -> ObstaclePoints:
        xyz = random.uniform((-6, -6, 0.2), (9, 6, 1.8), (count, 3)).astype(np.float32)
        ids = random.integers(0, 5, count).astype(np.uint8)
        return ObstaclePoints(xyz, ids, random.uniform(0, 1, count).astype(np.float32))

    parts = [[clutter(int(random.integers(0, 500))) for _ in range(ways)] for _ in range(steps)]
    parts[1][3] = clutter(2)  # too few for an obstacle
    views = []
    for _ in range(steps):
        at = np.stack([optical_pose(*random.uniform(-1, 1, 2), 1.5, 5.0) for _ in range(ways)])
        views.append(GroundViews(CAMERA, at, random.uniform(1, 9, (ways, 20, 40))))
    found = sweep_trajectories(
        [PointRows.of(some) for some in parts], poses, ROBOT, horizons_s,
        views=[[view] for view in views], step_m=0.3,
    )  # fmt: skip
    for way, one in enumerate(found):
        expected = plain_sweep(
            [some[way] for some in parts], poses[way], ROBOT, horizons_s,
            [GroundView(CAMERA, v.fixed_from_optical[way], v.depth[way]) for v in views], 0.3,
        )  # fmt: skip
        for step, plain in zip(one.steps, expected, strict=True):
            told = (step.probability_occupied, step.least_distance_m, step.class_id, step.unknown)
            assert told == pytest.approx(plain[:4], abs=1e-5)
        assert one.time_to_contact_s == pytest.approx(expected[-1][4])
    assert len({one.contact for one in found}) == 2  # the test's own sense
    first = [GroundView(CAMERA, v.fixed_from_optical[0], v.depth[0]) for v in views]
    shared = sweep_trajectories(
        [PointRows.of(some[:1]) for some in parts], poses, ROBOT, horizons_s,
        views=[[view.alone()] for view in first], step_m=0.3, rows=np.zeros(ways, np.intp),
    )  # fmt: skip
    alone = sweep([some[0] for some in parts], poses[7], ROBOT, horizons_s,
                  views=[[view] for view in first], step_m=0.3)  # fmt: skip
    assert shared[7] == alone


def test_thinning_changes_distances_by_less_than_a_cell_and_no_contact_of_whole_cells() -> None:
    random = np.random.default_rng(11)
    square = Footprint([(1.0, 0.5), (1.0, -0.5), (-1.0, -0.5), (-1.0, 0.5)])
    for _ in range(20):
        xyz = random.uniform((-4, -4, 0.2), (4, 4, 1.5), (3000, 3)).astype(np.float32)
        xyz = xyz[np.hypot(xyz[:, 0] - 2.0, xyz[:, 1]) < random.uniform(0.3, 2.0)]
        every = ObstaclePoints(
            xyz, np.full(len(xyz), CAR, np.uint8), random.uniform(0, 1, len(xyz)).astype("f4")
        )
        few = thinned(every, 0.25)
        assert len(few) <= 3 * 16 * np.pi * 2.25**2
        one, other = (
            sweep([points], np.zeros((1, 3)), square, [0.0]).steps[0] for points in (every, few)
        )
        # The square consists of whole cells.
        assert other.probability_occupied == one.probability_occupied
        assert 0 <= other.least_distance_m - one.least_distance_m < 0.25 * math.sqrt(2)
        kept = thinned(few, 0.25)
        assert len(kept) == len(few)


def test_thinning_can_ask_for_several_points_in_a_cell() -> None:
    alone, crowd = wall(2.0).where(slice(0, 2)), wall(5.0, 0.1)
    found = thinned(ObstaclePoints.joined([alone, crowd]), 0.25, least=3, kept=1)
    assert found.xyz[:, 0].tolist() == [5.0]
    assert len(thinned(ObstaclePoints.none())) == 0


def test_rows_of_points_are_taken_and_stacked_as_lists_are() -> None:
    random = np.random.default_rng(1)

    def some(count: int) -> ObstaclePoints:
        xyz = random.random((count, 3)).astype(np.float32)
        return ObstaclePoints(xyz, np.arange(count, dtype=np.uint8), xyz[:, 0])

    parts = [some(count) for count in (3, 0, 5, 1)]
    stacked = PointRows.stacked([PointRows.of(parts[:2]), PointRows.of(parts[2:])])
    assert len(stacked) == 4
    wanted = [2, 2, 1, 0, 3, 2]
    for rows, expected in ((stacked, parts), (stacked.taken(np.array(wanted)), None)):
        for row, part in enumerate(expected or [parts[k] for k in wanted]):
            np.testing.assert_array_equal(rows[row].xyz, part.xyz)
            np.testing.assert_array_equal(rows[row].class_id, part.class_id)
    assert len(stacked.taken(np.array([1])).points) == 0
    assert len(stacked.taken(np.array([], np.intp))) == 0
