"""The monitor node as a process of its own, fed with forecasts made by hand, over DDS."""

from __future__ import annotations

import itertools
import math
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from forecast_peers import Client, NodeProcess, stamp_of, values_of
from made_up_forecasts import INTERVAL_NS, MadeUpForecasts, feature_map, world
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import Image

from dino_foresight_ros.msg import ForecastSkill
from dino_foresight_ros.nodes.monitor import node as monitor_node
from dino_foresight_ros.scene import Scene

NODE = [sys.executable, "-m", "dino_foresight_ros.nodes.monitor.node"]
START_NS = 1_700_000_000 * 10**9
DAY_NS = 86_400 * 10**9
DAYS = itertools.count()
PARAMETERS = ("window:=20", "stream_timeout_s:=1.0", "diagnostics_period_s:=0.2")

Predict = Callable[[int, int], Scene]


@pytest.fixture(scope="module")
def process(ros_domain: dict[str, str], tmp_path_factory) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp("monitor") / "log"
    node = NodeProcess(ros_domain, log, *PARAMETERS, program=NODE)
    yield node
    try:
        assert node.end(signal.SIGINT) == 0, node.text
    finally:
        node.kill()


class Stream:
    """A stream of made-up forecasts, and what the node says about it."""

    def __init__(self, client: Client, outputs: str = "foresight", features: bool = True) -> None:
        self.client = client
        self.made = MadeUpForecasts(client, outputs, features)
        self._skills: list[ForecastSkill] = client.subscribe(ForecastSkill, f"{outputs}/skill")
        # Far from every other test's stamps.
        self.base_ns = START_NS + next(DAYS) * DAY_NS
        assert client.spin_until(self.made.is_heard)
        self._warm_up_ns = self.base_ns - DAY_NS // 2
        assert client.spin_until(self._is_answered)

    def _is_answered(self) -> bool:
        """Whether answers come, after one more frame."""
        self.made.publish(self._warm_up_ns, world(0), [world(0)], model_name="warm up")
        self._warm_up_ns += INTERVAL_NS
        return self.client.spin_until(lambda: bool(self._skills), 0.2)

    @property
    def skills(self) -> list[ForecastSkill]:
        """The answers so far, without those of before the test."""
        return [skill for skill in self._skills if skill.model_name != "warm up"]

    def clear(self) -> None:
        self._skills.clear()

    def play(
        self, frames: range | list[int], predict: Predict, answers: int, **fields: Any
    ) -> list[ForecastSkill]:
        """Publish frames by their number, each with two steps, and wait for so many answers."""
        for index in frames:
            steps = [predict(index, 1), predict(index, 2)]
            self.made.publish(self.stamp_ns(index), world(index), steps, **fields)
            self.client.spin_for(0.01)
        done = self.client.spin_until(lambda: len(self.skills) >= answers)
        assert done, f"{len(self.skills)} of {answers} answers"
        return self.skills

    def stamp_ns(self, index: int) -> int:
        return self.base_ns + index * INTERVAL_NS

    def diagnostics(self, condition: Callable[[dict[str, str]], bool]) -> Any:
        """The first status of the monitor that meets a condition from now on."""
        kept = self.client.subscribe(DiagnosticArray, "/diagnostics")
        kept.clear()
        assert self.client.spin_until(lambda: any(condition(values_of(m)) for m in kept)), [
            values_of(m) for m in kept
        ][-1:]
        return next(m for m in kept if condition(values_of(m))).status[0]


@pytest.fixture
def client(process: NodeProcess) -> Iterator[Client]:
    client = Client("monitor_client")
    yield client
    client.close()


@pytest.fixture
def stream(client: Client) -> Stream:
    return Stream(client)


def true(index: int, step: int) -> Scene:
    return world(index + step)


def copied(index: int, step: int) -> Scene:
    return world(index)


def wrong(index: int, step: int) -> Scene:
    return world(1000 + 100 * index + step)


def test_every_field_is_what_plain_arithmetic_gives(stream: Stream):
    skills = stream.play(range(6), wrong, 5 + 4, model_name="arithmetic")
    assert len(skills) == 9
    rows: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for skill in skills:
        origin = (stamp_of(skill.forecast_stamp) - stream.base_ns) // INTERVAL_NS
        came, seen = world(origin + skill.step), world(origin)
        made = wrong(origin, skill.step)
        assert stamp_of(skill.header.stamp) == stream.stamp_ns(origin + skill.step)
        assert stamp_of(skill.target_stamp) == stamp_of(skill.header.stamp)
        assert (skill.header.frame_id, skill.model_name, skill.trained) == (
            "cam",
            "arithmetic",
            True,
        )
        assert skill.horizon == pytest.approx(0.2 * skill.step)
        assert skill.target_offset == 0.0
        error = np.mean((made.features - came.features) ** 2)
        copy_error = np.mean((seen.features - came.features) ** 2)
        rows[skill.step].append((error, copy_error))
        expected = {
            "feature_error": error,
            "copy_feature_error": copy_error,
            "skill": 1 - error / copy_error,
            "segmentation_agreement": np.mean(made.segmentation == came.segmentation),
            "copy_segmentation_agreement": np.mean(seen.segmentation == came.segmentation),
            "depth_error": np.mean(np.abs(made.depth - came.depth) / came.depth),
            "copy_depth_error": np.mean(np.abs(seen.depth - came.depth) / came.depth),
            "running_feature_error": np.mean([a for a, _ in rows[skill.step]]),
            "running_copy_feature_error": np.mean([b for _, b in rows[skill.step]]),
            "running_skill": 1 - np.divide(*np.mean(rows[skill.step], axis=0)),
        }
        for name, value in expected.items():
            assert getattr(skill, name) == pytest.approx(value, rel=1e-4, abs=1e-5), name
        assert skill.depth_is_metric
        assert skill.window_count == len(rows[skill.step])


def test_a_forecast_that_comes_true_has_skill_1_and_a_copy_0(stream: Stream):
    for predict, value, model in ((true, 1.0, "true"), (copied, 0.0, "copied")):
        stream.clear()
        for skill in stream.play(range(5), predict, 4 + 3, model_name=model):
            assert skill.skill == skill.running_skill == value
            assert skill.feature_error == (0.0 if value else skill.copy_feature_error)
            assert skill.segmentation_agreement >= skill.copy_segmentation_agreement
        stream.base_ns += 3600 * 10**9


def test_frames_that_do_not_come_are_counted_and_stop_nothing(stream: Stream):
    before = int(stream.diagnostics(lambda v: True).values[3].value)
    frames = [0, 1, 3, 4, 7, 8]
    met = [(a, k) for a in frames for k in (1, 2) if a + k in frames]
    missed = [(a, k) for a in frames for k in (1, 2) if a + k not in frames and a + k < 8]
    skills = stream.play(frames, true, len(met), model_name="drops")
    origins = {(stamp_of(s.forecast_stamp) - stream.base_ns) // INTERVAL_NS for s in skills}
    assert len(skills) == len(met)
    assert origins == {a for a, _ in met}
    assert all(s.skill == 1.0 for s in skills)
    status = stream.diagnostics(lambda v: v["model"] == "drops" and v["step_1.forecasts"] == "3")
    values = {v.key: v.value for v in status.values}
    assert int(values["dropped_total"]) - before >= len(missed)
    assert int(values["dropped.no_frame"]) >= len(missed)
    assert int(values["pending"]) == 3  # from frames 7 (one step) and 8


def test_a_recording_that_loops_is_compared_within_each_round_only(stream: Stream):
    for round_ in (1, 2, 3):
        skills = stream.play(range(4), true, round_ * (3 + 2), model_name="loop")
    assert [s.skill for s in skills] == [1.0] * 15
    assert {s.step: s.window_count for s in skills} == {1: 9, 2: 6}
    status = stream.diagnostics(lambda v: v["model"] == "loop")
    assert int({v.key: v.value for v in status.values}["dropped.time_jump"]) >= 6


def test_features_of_a_wrong_size_are_refused_by_name_and_others_go_on(
    stream: Stream, process: NodeProcess
):
    stream.play(range(3), true, 3, model_name="sizes")
    broken = feature_map(stream.stamp_ns(3), 0, world(0).features)
    broken.channels = 7
    stream.made.features.publish(broken)
    broken.channels, broken.dtype = 5, "int8"
    stream.made.features.publish(broken)
    stream.play(range(3, 6), true, 9, model_name="sizes")
    assert [s.skill for s in stream.skills] == [1.0] * 9
    assert "2x3 patches, 7 channels and float32 do not fit 120 bytes" in process.text
    values = {v.key: v.value for v in stream.diagnostics(lambda v: v["model"] == "sizes").values}
    assert int(values["broken_messages"]) >= 2


def test_surprise_lights_up_where_the_world_was_not_as_expected(stream: Stream):
    def predict(index: int, step: int) -> Scene:
        came = world(index + step)
        features = came.features.copy()
        features[1, 2] += 2.0
        return replace(came, features=features)

    maps = stream.client.subscribe(Image, "foresight/surprise")
    colors = stream.client.subscribe(Image, "foresight/surprise/image_color")
    start = 0

    def are_drawn() -> bool:
        nonlocal start
        stream.play(range(start, start + 5), predict, 1, model_name="surprise")
        start += 5
        return stream.client.spin_until(lambda: bool(maps) and bool(colors), 0.2)

    assert stream.client.spin_until(are_drawn)
    stamp = stamp_of(maps[-1].header.stamp)

    def skill_of_map() -> list[ForecastSkill]:
        return [s for s in stream.skills if s.step == 1 and stamp_of(s.header.stamp) == stamp]

    assert stream.client.spin_until(lambda: bool(skill_of_map()))
    (skill,) = skill_of_map()
    assert (maps[-1].encoding, maps[-1].height, maps[-1].width) == ("32FC1", 2, 3)
    expected = np.zeros((2, 3))
    expected[1, 2] = 4.0 / skill.running_copy_feature_error
    found = np.frombuffer(bytes(maps[-1].data), np.float32).reshape(2, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (colors[-1].encoding, colors[-1].height, colors[-1].width) == ("rgb8", 16, 24)
    picture = np.frombuffer(bytes(colors[-1].data), np.uint8).reshape(16, 24, 3)
    assert picture[12, 20].sum() > picture[2, 2].sum() + 100


def test_forecasts_worse_than_copies_are_a_warning(stream: Stream):
    def worse(index: int, step: int) -> Scene:
        came = world(index + step)
        return replace(came, features=came.features + 9.0)

    stream.play(range(13), worse, 12 + 11, model_name="worse")
    status = stream.diagnostics(lambda v: v["model"] == "worse" and v["step_2.forecasts"] == "11")
    assert status.level == DiagnosticStatus.WARN
    assert "forecasts are worse than copy-last at step 1, 2" in status.message
    assert status.name == "monitor_node"
    assert float({v.key: v.value for v in status.values}["step_1.skill"]) < 0


def test_untrained_forecasts_say_so(stream: Stream):
    skills = stream.play(range(3), true, 3, model_name="random", trained=False)
    assert not any(skill.trained for skill in skills)
    status = stream.diagnostics(lambda v: v["model"] == "random")
    assert "untrained: skill says nothing" in status.message


def test_without_forecasts_the_node_is_stale_and_says_so(stream: Stream, process: NodeProcess):
    stream.play(range(3), true, 3, model_name="stale")
    kept = stream.client.subscribe(DiagnosticArray, "/diagnostics")
    assert stream.client.spin_until(
        lambda: any(m.status[0].level == DiagnosticStatus.STALE for m in kept)
    )
    assert "no forecast came on /foresight/forecast for 1 s" in process.text


def test_without_features_the_rest_is_measured_and_the_reason_told(client: Client):
    stream = Stream(client, features=False)
    skills = stream.play(range(4), true, 3 + 2, model_name="plain")
    for skill in skills:
        assert math.isnan(skill.feature_error)
        assert math.isnan(skill.running_skill)
        assert skill.segmentation_agreement == 1.0
        assert skill.depth_error == 0.0
    status = stream.diagnostics(lambda v: v["model"] == "plain")
    assert "set forecast_node's publish_features to true" in status.message


def test_two_cameras_do_not_mix(ros_domain: dict[str, str], tmp_path: Path):
    cameras = "cameras:=[left,right]"
    node = NodeProcess(
        ros_domain, tmp_path / "log", cameras, program=monitor_node.main, namespace="/car"
    )
    client = Client("two_cameras_client", namespace="/car")
    try:
        left, right = (Stream(client, f"{name}/foresight") for name in ("left", "right"))
        for index in range(4):
            for stream, predict in ((left, true), (right, copied)):
                stream.play([index], predict, 0, model_name="two")
        assert client.spin_until(lambda: len(left.skills) == len(right.skills) == 5), node.text
        assert {skill.skill for skill in left.skills} == {1.0}
        assert {skill.skill for skill in right.skills} == {0.0}
        status = left.diagnostics(lambda v: v.get("camera.right.step_1.forecasts") == "3")
        assert status.name == "car/monitor_node"
        assert "camera.left.compared" in {v.key for v in status.values}
    finally:
        client.close()
        node.kill()


def test_quality_of_service_is_overridden_for_one_topic_of_one_camera(
    ros_domain: dict[str, str], tmp_path: Path
):
    node = NodeProcess(
        ros_domain,
        tmp_path / "log",
        "cameras:=[left,right]",
        "qos_overrides./car/left/foresight/skill.publisher.reliability:=best_effort",
        "qos_overrides./car/left/foresight/forecast.subscription.durability:=transient_local",
        "qos_overrides./car/left/foresight/skil.publisher.depth:=3",
        program=monitor_node.main,
        namespace="/car",
    )
    client = Client("qos_client", namespace="/car")
    try:
        node.wait_for_text("no publisher on /car/left/foresight/skil now; did you mean /car/left/")
        graph = client.node
        topics = [f"/car/{side}/foresight" for side in ("left", "right")]
        assert client.spin_until(
            lambda: all(
                graph.get_publishers_info_by_topic(f"{t}/skill")
                and graph.get_subscriptions_info_by_topic(f"{t}/forecast")
                for t in topics
            )
        )
        offered = [graph.get_publishers_info_by_topic(f"{t}/skill") for t in topics]
        asked = [graph.get_subscriptions_info_by_topic(f"{t}/forecast") for t in topics]
        assert [one.qos_profile.reliability for (one,) in offered] == [
            ReliabilityPolicy.BEST_EFFORT,
            ReliabilityPolicy.RELIABLE,
        ]
        assert [one.qos_profile.durability for (one,) in asked] == [
            DurabilityPolicy.TRANSIENT_LOCAL,
            DurabilityPolicy.VOLATILE,
        ]
    finally:
        client.close()
        node.kill()
