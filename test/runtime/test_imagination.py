"""Candidates judged in a world of boxes, whose views a stand-in forecaster gives exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from box_world import BUILDING, CAR, Box, optical_pose, see
from torch import Tensor

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle, Prediction
from dino_foresight_ros.model.class_lists import world_segmentation
from dino_foresight_ros.model.dpt import strided
from dino_foresight_ros.model.tasks import DepthTask
from dino_foresight_ros.obstacles import Footprint, ObstacleOptions
from dino_foresight_ros.obstacles.arc_search import ArcLimits, fan
from dino_foresight_ros.planar_motion import compose, inverse, pose_of
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.runtime import Foresight, imagination
from dino_foresight_ros.runtime.batch import Context
from dino_foresight_ros.runtime.candidate import twist_motions
from dino_foresight_ros.runtime.decoder import DecodedOutput
from dino_foresight_ros.runtime.frame import ModelOutputError
from dino_foresight_ros.runtime.imagination import Imagination, answer_of
from dino_foresight_ros.runtime.imagined import Imagined, ImagineOptions, Mount, Weights
from dino_foresight_ros.runtime.threads import Threads

GRID, SIZE = (11, 20), (88, 160)
VIEW = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), SIZE)
RAYS = VIEW.pixel_rays(SIZE)
POSE = optical_pose(0.3, 0.0, 1.4, pitch_deg=6.0)
MOUNTS = {"": Mount(VIEW, POSE)}
OPTIONS = ImagineOptions(
    Footprint([(-0.5, -0.6), (1.5, -0.6), (1.5, 0.6), (-0.5, 0.6)]),
    ObstacleOptions.of_classes([info.name for info in WORLD_CLASSES]),
)
HORIZONS_S = (0.5, 1.0, 1.5)
WAYS = {
    "left": (5.0, 0.0, 0.7),
    "ahead": (5.0, 0.0, 0.0),
    "right": (5.0, 0.0, -0.7),
    "stop": (0.0, 0.0, 0.0),
}
CAR_AHEAD = [Box((6.0, -1.0, 0.0), (9.0, 1.0, 1.5), CAR)]


def candidates(ways: Mapping[str, Sequence[float]] = WAYS) -> np.ndarray:
    return np.stack([twist_motions(twist, 9.0, HORIZONS_S) for twist in ways.values()])


class BoxWorld:
    """Stands in for an engine: its features are where the base is, its heads see boxes from there.

    `moves` is how the base goes on where the forecaster is not told, m/s. `frames` has the stamp of
    the newest frame of cameras, and the place of the base then.
    """

    def __init__(self, boxes: list[Box], aware: bool = True, moves: float = 0.0) -> None:
        tasks = {
            "segmentation": world_segmentation(),
            "depth": DepthTask(kind="metric", bins=16, min_m=1.0, max_m=80.0),
        }
        self.bundle: Any = SimpleNamespace(
            name="boxes", grid=GRID, device=torch.device("cpu"), tasks=tasks
        )
        self.available_of_step_0 = frozenset({"segmentation", "confidence", "depth"})
        self.context_state = "2/4 frames"
        self.forecaster: Any = self
        self.decoder: Any = self
        self.takes_motion, self.motion_speeds = aware, (6.0, 1.0, 0.8)
        self.layers: list[int] = []
        self.frames_per_pass = 3
        self.boxes, self.moves = boxes, moves
        self.cameras = {"": POSE}
        self.frames: dict[str, tuple[int, tuple[float, float, float]]] = {}
        self.ahead_s: list[list[float]] = []
        self.asked = 0
        self.heads_are_finite = True
        self.threads = Threads()

    def context(self, camera: str) -> Context | None:
        if camera not in self.cameras:
            return None
        index = list(self.cameras).index(camera)
        memory = torch.zeros(1, 1, *GRID, 4, dtype=torch.float64)
        memory[..., 3] = index
        stamp_ns, _ = self.frames.get(camera, (10**9, ()))
        return Context((stamp_ns,), (memory,), torch.zeros(1, 1), memory[:, 0])

    def check_horizons(self, horizons_s: Sequence[float]) -> None:
        if max(horizons_s) > 10:
            raise ValueError("farther than 10 s")

    def stream(
        self,
        memories: tuple[Tensor, ...],
        stamps_s: Tensor,
        ahead_s: Sequence[float],
        motion: Tensor | None = None,
        layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:
        assert (motion is not None) == self.takes_motion
        if motion is None:
            motion = torch.tensor([[[[self.moves * h, 0.0, 0.0] for h in ahead_s]]]).double()
        self.asked += motion.shape[1]
        self.ahead_s.append(list(ahead_s))
        for s in range(len(ahead_s)):  # a horizon at a time, as some forecasters give them
            z = memories[0][0, -1].expand(1, motion.shape[1], 1, *GRID, 4).clone()
            z[..., :3] = motion[:, :, s : s + 1, None, None]
            yield Prediction(z)

    def decode(
        self,
        z: Tensor,
        requests: Sequence[Any],
        hidden: Mapping[int, Tensor],
        stride: int,
        focals: Sequence[float | None],
    ) -> list[DecodedOutput]:
        assert len(z) <= self.frames_per_pass
        assert focals == [VIEW.focal] * len(z)
        poses = list(self.cameras.values())
        bases = [self.frames.get(name, (0, (0.0, 0.0, 0.0)))[1] for name in self.cameras]
        seen = []
        for frame in z[:, 0, 0].numpy():
            base = np.eye(4)
            c, s = math.cos(frame[2]), math.sin(frame[2])
            base[:2, :2], base[:2, 3] = [[c, -s], [s, c]], frame[:2]
            # Told is the motion of a base that looks where the camera does.
            pose, turn = poses[int(frame[3])], np.eye(4)
            (x, y) = pose[:2, 2] / np.hypot(*pose[:2, 2])
            turn[:2, :2] = [[x, -y], [y, x]]
            base = pose_of(bases[int(frame[3])]) @ turn @ base @ turn.T
            seen.append(see(RAYS, base @ pose, self.boxes))
        rows = list(range(len(z)))
        return [
            DecodedOutput(
                name,
                rows,
                torch.from_numpy(np.stack([getattr(s, name) for s in seen]))[strided(stride)],
                torch.full((len(z),), self.heads_are_finite),
            )
            for name in ("segmentation", "confidence", "depth")
        ]


def imagine(world: Any, motions: np.ndarray, workers: int = 1, **more: Any) -> Imagined:
    options = more.pop("options", OPTIONS)
    mounts = more.pop("mounts", MOUNTS)
    horizons_s = more.pop("horizons_s", HORIZONS_S)
    world.threads = Threads(workers)
    imagined = Imagination(world)
    return answer_of(imagined.imagine(motions, horizons_s, mounts, options, **more))


def hits(twist: Sequence[float], box: Box, until_s: float) -> bool:
    """Whether the footprint meets a box, by brute force: many settings, many places of the box."""
    x, y = np.meshgrid(
        np.linspace(box.low[0], box.high[0], 80), np.linspace(box.low[1], box.high[1], 80)
    )
    places = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    for t in np.arange(0, until_s + 1e-9, 0.01):
        pose = twist_motions(twist, 9.0, [max(t, 1e-6)])[0]
        inside = compose(inverse(pose), places)
        if bool(
            ((inside[:, 0] > -0.5) & (inside[:, 0] < 1.5) & (np.abs(inside[:, 1]) < 0.6)).any()
        ):
            return True
    return False


@pytest.mark.slow
def test_footprint_meets_what_stands_on_its_way_and_when_it_does():
    found = imagine(BoxWorld(CAR_AHEAD), candidates())
    occupied = {
        way: [h.probability_occupied > 0.5 for h in one.horizons]
        for way, one in zip(WAYS, found.candidates, strict=True)
    }
    expected = {
        way: [hits(twist, CAR_AHEAD[0], h) for h in HORIZONS_S] for way, twist in WAYS.items()
    }
    assert occupied == expected
    assert expected["ahead"] == [False, True, True]  # the test's own sense
    ahead, stop = found.candidates[1], found.candidates[3]
    # 4.5 m from bumper to bumper at 5 m/s.
    assert ahead.time_to_contact_s == pytest.approx(0.9, abs=0.05)
    assert ahead.horizons[-1].class_id == CAR
    assert "meets car in 0.9 s" in ahead.reason
    assert stop.time_to_contact_s == math.inf
    assert stop.horizons[-1].least_distance_m == pytest.approx(4.5, rel=0.05)
    assert found.ranking[-1] == 1
    assert found.candidates[found.ranking[0]].reason == ""
    assert found.is_motion_aware


def test_what_comes_into_view_only_on_the_way_is_met():
    """A car behind the corner of a house: the view of now does not show it."""
    boxes = [
        Box((4.0, 1.2, 0.0), (7.0, 8.0, 5.0), BUILDING),
        Box((8.0, 2.2, 0.0), (9.5, 4.5, 1.5), CAR),
    ]
    assert not (see(RAYS, POSE, boxes).segmentation == CAR).any()
    round_the_corner = np.array([[[7.0, -0.3, 0.0], [8.5, 0.3, 1.2], [8.6, 1.2, 1.4]]])
    found = imagine(BoxWorld(boxes), round_the_corner).candidates[0]
    assert [h.probability_occupied > 0.5 for h in found.horizons] == [False, False, True]
    assert found.horizons[-1].class_id == CAR


def test_what_goes_out_of_view_stays_where_it_was():
    """Past a parked car, out of the view of a camera at the front, and with the rear into it."""
    boxes = [Box((3.0, 0.8, 0.0), (6.0, 2.5, 1.5), CAR)]
    past = np.array([[[4.0, 0.0, 0.0], [8.0, 0.0, 0.0], [6.3, 0.3, 0.0]]])
    found = imagine(BoxWorld(boxes), past).candidates[0]
    assert [h.probability_occupied > 0.5 for h in found.horizons] == [False, False, True]


def test_results_do_not_depend_on_how_many_threads_imagine():
    motions = np.concatenate([candidates()] * 5)
    one, two = (imagine(BoxWorld(CAR_AHEAD), motions, workers) for workers in (1, 3))
    assert [c.total for c in one.candidates] == [c.total for c in two.candidates]
    assert [c.total for c in one.candidates[:4]] == [c.total for c in one.candidates[16:]]
    assert one.ranking == two.ranking


@pytest.mark.slow
def test_ways_that_lead_to_nearly_the_same_place_share_a_view_and_are_ranked_alike():
    """64 of a fan, beside what each way's own views say: rank correlation, and the best."""
    arcs = fan(64, ArcLimits(6.0, 0.7))
    motions = np.stack([twist_motions((v, 0.0, w), 9.0, HORIZONS_S) for v, w in arcs])
    world = BoxWorld(CAR_AHEAD)
    shared = imagine(world, motions)
    asked, world.asked = world.asked, 0
    with mock.patch.object(imagination, "shared_views", lambda ways, _: own_views(ways)):
        own = imagine(world, motions)
    assert world.asked == 3 * 64
    assert asked < 0.75 * world.asked
    totals = np.array([[one.total for one in found.candidates] for found in (shared, own)])
    ranks = totals.argsort(axis=1).argsort(axis=1)
    assert np.corrcoef(ranks)[0, 1] > 0.98
    assert totals[1, shared.ranking[0]] < totals[1].min() + 0.02


def own_views(ways: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(ways))[:, None], ways.shape[1], axis=1)


def test_same_ways_are_imagined_once_whatever_is_asked_for():
    world = BoxWorld(CAR_AHEAD)
    found = imagine(world, np.concatenate([candidates()] * 3), maps=True, points=True)
    # A standing robot's three views are one place, but not one instant.
    assert world.asked == 4 * 3
    depths = [one.horizons[0].scenes[""].depth for one in found.candidates]
    for first, again in zip(depths[:4], depths[4:8], strict=True):
        assert np.array_equal(first, again, equal_nan=True)
    assert not np.array_equal(depths[0], depths[1], equal_nan=True)


@pytest.mark.slow
def test_other_work_may_be_done_between_the_parts_of_many_candidates():
    motions = candidates({str(k): (5.0, 0.0, 0.002 * k) for k in range(40)})
    parts = Imagination(BoxWorld(CAR_AHEAD)).imagine(
        motions, HORIZONS_S, MOUNTS, OPTIONS, maps=True
    )
    assert sum(1 for _ in parts) >= 5


def test_forecaster_without_motion_gives_every_candidate_the_same_views_and_says_so():
    world = BoxWorld(CAR_AHEAD, aware=False)
    found = imagine(world, candidates(), maps=True)
    assert not found.is_motion_aware
    assert world.asked == 1
    depths = [one.horizons[0].scenes[""].depth for one in found.candidates]
    assert all(np.array_equal(depths[0], other, equal_nan=True) for other in depths)
    # The footprints differ all the same.
    assert [c.horizons[-1].probability_occupied > 0.5 for c in found.candidates] == [
        False,
        True,
        False,
        False,
    ]


def test_views_of_a_forecaster_without_motion_are_where_the_assumed_motion_leads():
    """It foresees a camera that goes on at 4 m/s, so a car 6 m ahead seems 2 m ahead after 1 s."""
    world = BoxWorld(CAR_AHEAD, aware=False, moves=4.0)
    stop = candidates()[3:]
    assumed = np.array([[4.0 * h, 0.0, 0.0] for h in HORIZONS_S])
    wrong = imagine(world, stop).candidates[0]
    right = imagine(world, stop, assumed=assumed).candidates[0]
    assert right.horizons[-1].least_distance_m == pytest.approx(4.5, rel=0.05)
    # After 1 s it seems 2 m ahead; after 1.5 s it is not in the picture any more.
    assert wrong.horizons[-1].least_distance_m == pytest.approx(0.5, abs=0.1)


def test_several_cameras_see_together():
    boxes = [Box((-6.0, -2.0, 0.0), (-3.0, 2.0, 1.5), CAR)]
    back = {"reverse": (-2.0, 0.0, 0.0)}
    world = BoxWorld(boxes)
    world.cameras = {"front": POSE, "rear": optical_pose(0.3, 0.0, 1.4, yaw_deg=180.0)}
    mounts = {name: Mount(VIEW, pose) for name, pose in world.cameras.items()}
    both = imagine(world, candidates(back), mounts=mounts).candidates[0]
    front = imagine(world, candidates(back), mounts={"front": mounts["front"]}).candidates[0]
    assert both.horizons[-1].probability_occupied > 0.5
    assert front.horizons[-1].probability_occupied == 0.0
    assert front.horizons[-1].unknown > 0.9
    assert both.horizons[-1].unknown < front.horizons[-1].unknown - 0.1


@pytest.mark.parametrize("aware", [True, False])
def test_cameras_whose_newest_frames_are_of_different_instants_see_one_world(aware: bool):
    """The newest picture astern is 0.4 s older: the base was 2 m back then, and turned."""
    boxes = [Box((-9.0, -2.0, 0.0), (-6.0, 2.0, 1.5), CAR)]
    world = BoxWorld(boxes, aware)
    world.cameras = {"front": POSE, "rear": optical_pose(0.3, 0.0, 1.4, yaw_deg=180.0)}
    world.frames["rear"] = 10**9 - 400_000_000, (-2.0, 0.1, 0.2)
    mounts = {name: Mount(VIEW, pose) for name, pose in world.cameras.items()}

    def moved(from_ns: int, to_ns: int) -> np.ndarray:
        assert (from_ns, to_ns) == (10**9, 600_000_000)
        return np.array(world.frames["rear"][1])

    stop = candidates({"stop": (0.0, 0.0, 0.0)})
    found = imagine(world, stop, mounts=mounts, moved=moved, points=True)
    assert found.stamp_ns == 10**9
    for horizon in found.candidates[0].horizons:
        behind = horizon.points.xyz[horizon.points.xyz[:, 0] < 0]
        assert len(behind) > 20
        assert float(behind[:, 0].max()) == pytest.approx(-6.0, abs=0.15)
        assert float(np.abs(behind[:, 1]).max()) == pytest.approx(2.0, abs=0.3)  # 0.3 m a pixel
    if aware:  # the camera that is behind foresees farther
        assert sorted({one for asked in world.ahead_s for one in asked}) == pytest.approx(
            [0.5, 0.9, 1.0, 1.4, 1.5, 1.9]
        )
    else:
        wrong = imagine(world, stop, mounts=mounts, points=True).candidates[0].horizons[0]
        behind = wrong.points.xyz[wrong.points.xyz[:, 0] < 0]
        assert float(behind[:, 0].max()) == pytest.approx(-4.0, abs=0.5)


def test_maps_and_points_are_given_where_they_are_asked_for():
    found = imagine(BoxWorld(CAR_AHEAD), candidates(), maps=True, points=True)
    horizon = found.candidates[1].horizons[0]
    assert horizon.scenes[""].depth.shape == SIZE
    # In the base frame of now, whatever the way: the car's back.
    for one in found.candidates:
        points = one.horizons[0].points
        assert points is not None
        ahead = points.xyz[np.abs(points.xyz[:, 1]) < 0.9]
        assert float(ahead[:, 0].min()) == pytest.approx(6.0, rel=0.05)
    plain = imagine(BoxWorld(CAR_AHEAD), candidates()).candidates[1].horizons[0]
    assert plain.scenes == {}
    assert plain.points is None


def test_weights_decide_the_order_and_costs_lie_within_0_and_1():
    world = BoxWorld(CAR_AHEAD)
    bold = imagine(world, candidates(), options=replace(OPTIONS, weights=Weights(0, 0, 0, 1)))
    shy = imagine(world, candidates(), options=replace(OPTIONS, weights=Weights(1, 0, 0, 0)))
    assert bold.ranking[-1] == 3
    assert shy.ranking[-1] == 1
    for one in bold.candidates:
        assert all(0 <= cost <= 1 for cost in one.costs)
        assert one.total == pytest.approx(one.costs.progress)
    assert "7.5 m less progress" in bold.candidates[3].reason


def test_candidate_faster_than_the_training_is_answered_and_marked():
    ways = {"usual": (5.0, 0.0, 0.0), "fast": (9.0, 0.0, 0.0), "sharp": (2.0, 0.0, 0.9)}
    found = imagine(BoxWorld([]), candidates(ways))
    marks = [[h.is_outside_range for h in one.horizons] for one in found.candidates]
    assert marks == [[False] * 3, [True] * 3, [True] * 3]
    assert "faster than the model was trained for" in found.candidates[2].reason


@pytest.mark.parametrize(
    ("motions", "more", "said"),
    [
        (np.zeros((0, 3, 3)), {}, "0 candidates are given; give 1 to 1024"),
        (np.zeros((10_000, 3, 3)), {}, "10000 candidates are given"),
        (np.zeros((2, 2, 3)), {}, r"shape \(2, 2, 3\), expected \(K, 3, 3\)"),
        (np.full((1, 3, 3), np.nan), {}, "not a finite number"),
        (np.zeros((65, 3, 3)), {"maps": True}, "maps or points of 65 candidates are asked for"),
        (np.zeros((65, 3, 3)), {"points": True}, "give at most 64: ask for scores first"),
        (np.zeros((1, 1, 3)), {"horizons_s": [11.0]}, "farther than 10 s"),
        (np.zeros((1, 0, 3)), {"horizons_s": []}, "0 horizons"),
        (np.zeros((1, 3, 3)), {"mounts": {"other": MOUNTS[""]}}, "context has 2/4 frames"),
    ],
)
def test_what_cannot_be_imagined_is_refused_in_one_line(
    motions: np.ndarray, more: dict[str, Any], said: str
):
    with pytest.raises(InputError, match=said):
        imagine(BoxWorld([]), motions, **more)


@pytest.mark.parametrize("depth", [None, DepthTask()])
def test_bundle_without_metric_depth_is_refused(depth: DepthTask | None):
    world = BoxWorld([])
    world.bundle.tasks.pop("depth")
    if depth is not None:
        world.bundle.tasks["depth"] = depth
    with pytest.raises(InputError, match="boxes has no metric depth head"):
        imagine(world, candidates())


def test_real_engine_imagines_over_its_own_context(bundle: Bundle):
    engine = Foresight(bundle, steps=3)
    mounts = {"": Mount(CameraView.pinhole(np.eye(3) * 40, (56, 84)), POSE)}
    motions = candidates()
    frames = np.random.default_rng(0).integers(0, 255, (4, 56, 84, 3), np.uint8)
    for index, frame in enumerate(frames):
        with pytest.raises(InputError, match=f"context has {index}/4 frames"):
            imagine(engine, motions, mounts=mounts, horizons_s=(0.2, 0.4, 0.6))
        forecast = engine.update(frame, index * 200_000_000)
    found = imagine(engine, motions, mounts=mounts, horizons_s=(0.2, 0.4, 0.6), maps=True)
    assert forecast is not None
    assert found.stamp_ns == forecast.stamp_ns
    for horizon, step in zip(found.candidates[0].horizons, forecast.steps, strict=True):
        np.testing.assert_array_equal(horizon.scenes[""].segmentation, step.segmentation)
        np.testing.assert_allclose(horizon.scenes[""].depth, step.depth, rtol=1e-5)


def test_picture_of_where_to_be_makes_the_way_there_the_best():
    """Features of the stand-in are where the base is, so the picture of a place tells the place."""
    world, ways = BoxWorld([]), candidates()
    for goal in (0, 2):
        features = torch.zeros(*GRID, 4, dtype=torch.float64)
        features[..., :3] = torch.from_numpy(ways[goal, -1])
        found = imagine(world, ways, options=replace(OPTIONS, goal=features))
        assert found.ranking[0] == goal
        assert found.candidates[goal].costs.progress == pytest.approx(0.0, abs=1e-6)
        assert found.candidates[3].costs.progress == pytest.approx(1.0)  # it stays as far as now
        assert "less like the goal's (100 % as far as now)" in found.candidates[3].reason


def test_head_that_overflows_leaves_no_free_way():
    world = BoxWorld([])
    world.heads_are_finite = False
    with pytest.raises(ModelOutputError, match="boxes predicted NaN"):
        imagine(world, candidates())


def test_forecast_of_nan_is_no_free_way():
    world = BoxWorld([])
    ways = candidates()
    world.stream = lambda *_, **__: iter(  # type: ignore[method-assign]
        [Prediction(torch.full((1, len(ways), 3, *GRID, 4), math.nan))]
    )
    with pytest.raises(ModelOutputError, match="boxes predicted NaN"):
        imagine(world, ways)
