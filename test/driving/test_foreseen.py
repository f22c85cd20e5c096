"""Perceptions by a bundle: what it says stands where the ego will see it from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.driving import TIMES_S, CopyLast, Perception, Policy, foreseen
from dino_foresight_ros.driving.foreseen import Foreseen, Imagined, Present
from dino_foresight_ros.driving.maneuvers import KEEP, LEFT, Trajectory, control_of, trajectory_of
from dino_foresight_ros.driving.policies import STEERING
from dino_foresight_ros.driving.runs import DriveSettings, make_driver
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.obstacles import ObstaclePoints
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.synthetic import Drive, Frame, World, WorldConfig

pytestmark = pytest.mark.slow

HORIZONS_S = (0.2, 0.4)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_micro_bundle()


@pytest.fixture(scope="module")
def seen() -> list[tuple[Drive, Frame]]:
    config = WorldConfig(seed=3, width=84, height=56, view_distance_m=60.0, frame_rate_hz=5.0)
    drive, found = World(config).drive(), []
    for _ in range(5):
        found.append((drive.fork(), drive.render()))
        drive.step(control_of(drive, KEEP), 0.2)
    return found


def looked(perception: Perception, seen: list[tuple[Drive, Frame]]) -> None:
    for drive, frame in seen:
        perception.see(drive, frame)


def spread_of(points: ObstaclePoints) -> np.ndarray:
    return np.sort(points.xyz[:, 0])


def test_forecasts_stand_ahead_of_where_the_ego_will_be(
    bundle: Bundle, seen: list[tuple[Drive, Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own depth, which the truth replaces, is placed by the ego's way."""
    drive, _ = seen[-1]

    def told(engine: Foresight, image: np.ndarray, stamp_ns: int, focal: float) -> object:
        fx, fy = seen[-1][1].k[[0, 1], [0, 1]]
        assert focal == pytest.approx(np.sqrt(fx / image.shape[1] * fy / image.shape[0]))
        forecast = update(engine, image, stamp_ns, focal=focal)
        if forecast is None:
            return None
        depth = np.full((32, 48), 10.0, np.float32)  # a wall, 10 m ahead of each instant,
        depth[17:] = np.nan  # whose foot is not seen: it would touch the ground before that
        ids, sure = np.full((32, 48), 3, np.uint8), np.ones((32, 48), np.float32)
        maps = {"depth": depth, "segmentation": ids, "confidence": sure, "depth_is_metric": True}
        steps = tuple(replace(scene, **maps) for scene in forecast.steps)
        now = forecast.step_0
        step_0 = None if now is None else replace(now, **maps)
        return replace(forecast, steps=steps, step_0=step_0)

    update = Foresight.update
    monkeypatch.setattr(Foresight, "update", told)
    trajectory = trajectory_of(drive, KEEP)
    ahead, present = Foreseen(bundle, HORIZONS_S), Present(bundle, HORIZONS_S)
    copied = CopyLast(Present(bundle, HORIZONS_S))
    for perception in (ahead, present, copied):
        looked(perception, seen)
    places = [np.median(spread_of(points)) for points in ahead.around(trajectory)]
    moved = trajectory.poses[:, 0]
    assert places[0] == pytest.approx(10.0 + moved[0], abs=0.4)
    # After the last horizon, 0.4 s, nothing is expected to move any more.
    assert places[1:] == pytest.approx([10.0 + moved[1]] * (len(TIMES_S) - 1), abs=0.4)
    assert np.median(spread_of(present.around(trajectory)[-1])) == pytest.approx(10.0, abs=0.4)
    last = np.median(spread_of(copied.around(trajectory)[-1]))
    assert last == pytest.approx(10.0 + moved[-1], abs=0.6)


def test_every_way_is_imagined_once_the_context_is_whole(
    bundle: Bundle, seen: list[tuple[Drive, Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseen, "likely_points", lambda points: points)
    drive, frame = seen[-1]
    trajectories = [trajectory_of(drive, KEEP), trajectory_of(drive, LEFT)]
    imagined = Imagined(bundle, HORIZONS_S)
    looked(imagined, seen[:1])
    assert all(len(points) == 0 for points in imagined.around(trajectories[0])[1:])
    looked(imagined, seen[1:])
    assert all(len(imagined.around(trajectory)) == len(TIMES_S) for trajectory in trajectories)
    assert sum(len(points) for points in imagined.around(trajectories[1])) > 0
    assert Policy(imagined).choose(drive, frame).name


def test_a_trajectory_is_imagined_alike_whichever_was_asked_for_before(
    bundle: Bundle, seen: list[tuple[Drive, Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseen, "likely_points", lambda points: points)
    drive, _ = seen[-1]
    among = Imagined(bundle, HORIZONS_S)
    looked(among, seen)
    trajectories = [trajectory_of(drive, maneuver) for maneuver in STEERING]
    together = [among.around(trajectory) for trajectory in trajectories]
    alone = Imagined(bundle, HORIZONS_S)
    looked(alone, seen)
    for trajectory, others in reversed(list(zip(trajectories, together, strict=True))):
        for one, other in zip(alone.around(trajectory), others, strict=True):
            np.testing.assert_allclose(one.xyz, other.xyz, atol=1e-3)


class Blocked(Perception):
    """Meets something on all trajectories but some, and notes which ones are asked for."""

    def __init__(self, *free: str) -> None:
        self.free, self.asked = free, []

    def see(self, drive: Drive, frame: Frame | None) -> None:
        self.asked = []

    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        self.asked.append(trajectory.maneuver.name)
        at = np.array([[0.0, 0.0, 1.0]], np.float32)
        points = ObstaclePoints(at, np.array([10], np.uint8), np.ones(1, np.float32))
        one = ObstaclePoints.none() if trajectory.maneuver.name in self.free else points
        return [one] * len(TIMES_S)


@pytest.mark.parametrize(
    ("free", "asked", "chosen"),
    [
        (("keep", "brake"), ["keep"], "keep"),
        (("brake",), ["keep", "brake"], "brake"),
        ((), ["keep", "brake"], "brake hard"),
    ],
)
def test_no_way_is_asked_for_that_cannot_change_the_choice(
    seen: list[tuple[Drive, Frame]], free: tuple[str, ...], asked: list[str], chosen: str
) -> None:
    blocked = Blocked(*free)
    choice = Policy(blocked).choose(*seen[-1])
    assert (blocked.asked, choice.name) == (asked, chosen)
    assert bool(choice.reason) == ("keep" not in free)


def test_the_present_is_read_where_it_is_used(
    bundle: Bundle, seen: list[tuple[Drive, Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseen, "likely_points", lambda points: points)
    read = []
    for perception in (
        Foreseen(bundle, HORIZONS_S),
        Foreseen(bundle, (0.4, 0.8)),  # 0.2 s is as near to the present
        Foreseen(bundle, HORIZONS_S, reads_present=True),
        Present(bundle, HORIZONS_S),
    ):
        looked(perception, seen)
        read.append(len(perception.points) > 0)
    assert read == [False, True, True, True]


def test_a_bundle_without_metric_depth_is_refused_by_name(bundle: Bundle) -> None:
    heads = {name: head for name, head in bundle.heads.items() if name != "depth"}
    tasks = {name: task for name, task in bundle.tasks.items() if name != "depth"}
    with pytest.raises(UsageError, match="micro has no metric depth head"):
        Foreseen(replace(bundle, heads=heads, tasks=tasks))


def test_a_policy_that_needs_a_bundle_says_so() -> None:
    with pytest.raises(UsageError, match="imagine drives by a bundle; give --bundle"):
        make_driver("imagine", DriveSettings())
