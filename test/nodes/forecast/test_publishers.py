"""What is published for whom, in one process, with forecasts made by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from rclpy.lifecycle import LifecycleNode
from ros_bench import TIMEOUT_S, Bench, published_topics
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros import msg as messages
from dino_foresight_ros.nodes.forecast import publishers
from dino_foresight_ros.nodes.forecast.model_info import ModelInfo
from dino_foresight_ros.nodes.forecast.publishers import ForecastPublishers
from dino_foresight_ros.ros.qos import latched_qos
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.runtime.frame import Forecast
from dino_foresight_ros.scene import Scene

BOTH = frozenset({"segmentation", "depth"})
RELATIVE = ModelInfo("relative", BOTH, ("road", "sky"), ((1, 2, 3), (4, 5, 6)), False)


def forecast(steps: int, features: bool = False) -> Forecast:
    rng = np.random.default_rng(5)
    made = tuple(
        Scene(
            10**9 + k * 10**8,
            step=k,
            horizon_s=0.1 * k,
            segmentation=rng.integers(0, 2, (4, 6), dtype=np.uint8),
            depth=rng.random((4, 6), dtype=np.float32) * 255,
            features=rng.random((2, 3, 5), dtype=np.float32) if features else None,
        )
        for k in range(1, steps + 1)
    )
    return Forecast(10**9, (10**9,), 0.1, made, "relative", True, 0.0)


def with_seen(made: Forecast) -> Forecast:
    """The forecast with the newest frame itself, which looks like step 1."""
    seen = replace(made.steps[0], step=0, stamp_ns=made.stamp_ns, horizon_s=0.0)
    return replace(made, step_0=seen)


class World(Bench):
    """A lifecycle node with the topics, and a listener."""

    def __init__(self) -> None:
        super().__init__()
        self.node = self.make("publisher", LifecycleNode)
        self.listener = self.make("listener")

    def activate(self) -> None:
        self.node.trigger_configure()
        self.node.trigger_activate()

    def listen(self, kind: type, topic: str, qos: Any = 10) -> list[Any]:
        kept: list[Any] = []
        self.listener.create_subscription(kind, topic, kept.append, qos)
        assert self.spin_until(lambda: self.listener.count_publishers(topic) > 0), topic
        return kept


@pytest.fixture
def world(ros_domain: dict[str, str]) -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_relative_depth_has_a_topic_of_its_own(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 2, False)
    world.activate()
    depth = world.listen(Image, "foresight/step_2/depth_relative")
    assert world.spin_until(lambda: topics.subscribed() == {1: set(), 2: {"depth"}})
    made = forecast(2)
    topics.publish(made, "cam", None, 0.0)
    assert world.spin_until(lambda: bool(depth))
    values = np.frombuffer(depth[0].data, np.float32).reshape(4, 6)
    assert np.array_equal(values, made.steps[1].depth)
    names = {name for name, _ in world.node.get_topic_names_and_types()}
    assert "/foresight/step_2/depth" not in names
    assert "/foresight/step_3/segmentation" not in names
    assert "/foresight/step_1/normals" not in names
    assert "/foresight/features" not in names


def test_forecast_of_a_relative_head_says_so(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 3, False)
    world.activate()
    received = world.listen(messages.Forecast, "foresight/forecast")
    assert world.spin_until(lambda: topics.subscribed() == dict.fromkeys((1, 2, 3), BOTH))
    topics.publish(forecast(3), "cam", None, time.monotonic() - 0.5)
    assert world.spin_until(lambda: bool(received))
    assert [step.depth_is_metric for step in received[0].steps] == [False] * 3
    assert received[0].trained
    assert 0.5 <= received[0].latency < TIMEOUT_S
    assert (received[0].steps[0].normals.height, received[0].steps[0].normals.encoding) == (0, "")


def test_features_are_published_when_asked(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 2, True)
    world.activate()
    received = world.listen(messages.FeatureMap, "foresight/features")
    assert world.spin_until(lambda: topics.subscribed() == {k: {"features"} for k in range(3)})
    made = with_seen(forecast(2, features=True))
    topics.publish(made, "cam", None, 0.0)
    assert world.spin_until(lambda: len(received) == 3)
    for message, step in zip(received, [made.step_0, *made.steps], strict=True):
        shape = (message.grid_height, message.grid_width, message.channels)
        assert message.dtype == "float32"
        assert message.step == step.step
        assert time_to_ns(message.target_stamp) == step.target_stamp_ns
        assert np.array_equal(np.frombuffer(message.data, np.float32).reshape(shape), step.features)


def test_the_newest_frame_itself_is_step_0_of_who_asks_for_it(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 2, False)
    world.activate()
    forecasts = world.listen(messages.Forecast, "foresight/forecast")
    assert world.spin_until(lambda: topics.subscribed() == dict.fromkeys((1, 2), BOTH))
    depth = world.listen(Image, "foresight/step_0/depth_relative")
    assert world.spin_until(lambda: topics.subscribed().get(0) == {"depth"})
    made = with_seen(forecast(2))
    topics.publish(made, "cam", None, 0.0)
    assert world.spin_until(lambda: bool(depth) and bool(forecasts))
    assert np.array_equal(np.frombuffer(depth[0].data, np.float32).reshape(4, 6), made.step_0.depth)
    assert time_to_ns(depth[0].header.stamp) == made.stamp_ns
    # In the message the first step is the first predicted one, as ever.
    assert [step.step for step in forecasts[0].steps] == [1, 2]
    assert len(forecasts[0].target_stamps) == 2
    for step, want in zip(forecasts[0].steps, made.steps, strict=True):
        assert bytes(step.segmentation.data) == want.segmentation.tobytes()


def test_the_newest_frame_alone_makes_no_forecast_message(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 2, False)
    world.activate()
    segmentation = world.listen(Image, "foresight/step_0/segmentation")
    assert world.spin_until(
        lambda: topics.subscribed() == {0: {"segmentation"}, 1: set(), 2: set()}
    )
    forecasts = world.listen(messages.Forecast, "foresight/forecast")  # came a moment too late
    topics.publish(replace(with_seen(forecast(2)), steps=()), "cam", None, 0.0)
    assert world.spin_until(lambda: bool(segmentation))
    assert forecasts == []


def test_an_output_of_predictions_only_has_no_topic_of_step_0(world: World) -> None:
    model = replace(RELATIVE, only_predicted=frozenset({"depth"}))
    topics = ForecastPublishers(world.node, model, 1, False)
    names = {topic.removeprefix("/foresight/") for topic in published_by(world)}
    assert {"step_0/segmentation", "step_1/depth_relative"} <= names
    assert "step_0/depth_relative" not in names
    topics.destroy()


def published_by(world: World) -> set[str]:
    """Topics of the publisher's own, without the graph."""
    return {publisher.topic_name for publisher in world.node.publishers}


def test_labels_reach_who_comes_late_and_follow_the_camera_frame(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 1, False)
    world.activate()
    for _ in range(3):
        topics.publish_labels("cam")
    labels = world.listen(messages.Labels, "foresight/labels", latched_qos())
    assert world.spin_until(lambda: bool(labels))
    assert labels[0].header.frame_id == "cam"
    assert list(labels[0].names) == ["road", "sky"]
    assert list(labels[0].palette) == [1, 2, 3, 4, 5, 6]
    assert not labels[0].depth_is_metric
    topics.publish_labels("cam")
    topics.publish_labels("other")
    assert world.spin_until(lambda: len(labels) == 2)
    assert labels[1].header.frame_id == "other"


def test_nothing_leaves_while_inactive_or_after_destroy(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 1, False)
    world.activate()
    received = world.listen(messages.Forecast, "foresight/forecast")
    infos = world.listen(CameraInfo, "foresight/step_1/camera_info")
    world.node.trigger_deactivate()
    topics.publish(forecast(1), "cam", None, 0.0)
    world.spin_for(0.3)
    assert received == []
    topics.destroy()
    assert world.spin_until(lambda: not world.listener.count_publishers("/foresight/forecast"))
    assert infos == []


def topics_of(world: World) -> set[str]:
    """What is offered now, as the listener sees it, without what rclpy adds."""
    found = published_topics(world.listener)
    return {name.removeprefix("/foresight/") for name in found if "foresight" in name}


def test_steps_and_outputs_change_while_active(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 1, False)
    world.activate()
    kept = world.listen(Image, "foresight/step_1/depth_relative")
    names = ("segmentation", "segmentation_color", "depth_relative", "camera_info")
    first = {"forecast", "labels", *(f"step_{k}/{n}" for k in (0, 1) for n in names)}
    assert world.spin_until(lambda: topics_of(world) == first)
    topics.change(frozenset({"depth", "normals"}), 3, True)
    names = ("depth_relative", "normals", "camera_info")
    second = {f"step_{k}/{n}" for k in range(4) for n in names}
    second |= {"forecast", "labels", "features"}
    assert world.spin_until(lambda: topics_of(world) == second)
    third = world.listen(Image, "foresight/step_3/depth_relative")
    assert world.spin_until(lambda: topics.subscribed() == {1: {"depth"}, 2: set(), 3: {"depth"}})
    topics.publish(forecast(3), "cam", None, 0.0)
    # The first topic's publisher stayed; the third one's was born active.
    assert world.spin_until(lambda: len(kept) == 1 and len(third) == 1)
    topics.change(BOTH, 1, False)
    assert world.spin_until(lambda: topics_of(world) == first)
    assert set(topics.subscribed()) == {1}


def test_changing_to_and_fro_leaves_no_publisher_behind(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 2, False)
    world.activate()

    before = len(list(world.node.publishers))
    for _ in range(5):
        topics.change(frozenset({"normals"}), 16, True)
        topics.change(BOTH, 2, False)
    assert len(list(world.node.publishers)) == before


def test_publishers_that_change_in_mid_stream_disturb_no_publication(world: World) -> None:
    topics = ForecastPublishers(world.node, RELATIVE, 3, True)
    world.activate()
    world.listen(Image, "foresight/step_1/depth_relative")
    errors: list[Exception] = []
    stop = threading.Event()

    def work() -> None:
        made = forecast(3, features=True)
        while not stop.is_set():
            try:
                topics.publish(made, "cam", None, 0.0)
            except Exception as error:  # noqa: BLE001 - from any thread, whatever it is
                errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    for steps in (1, 3, 2, 3, 1) * 4:
        topics.change(BOTH, steps, steps % 2 == 0)
    topics.destroy()
    stop.set()
    worker.join()
    assert errors == []


def test_label_info_is_latched_beside_the_labels_where_it_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A message of ours stands in for vision_msgs', which the middleware would have to know.
    monkeypatch.setattr(publishers, "label_info_class", lambda: messages.Labels)
    monkeypatch.setattr(
        publishers,
        "build_label_info",
        lambda names, header: messages.Labels(names=list(names), header=header),
    )
    topics = ForecastPublishers(world.node, RELATIVE, 1, False)
    world.activate()
    topics.publish_labels("cam")
    infos = world.listen(messages.Labels, "foresight/label_info", latched_qos())
    assert world.spin_until(lambda: bool(infos))
    assert list(infos[0].names) == ["road", "sky"]
    topics.destroy()
    assert world.spin_until(lambda: not world.listener.count_publishers("/foresight/label_info"))


@pytest.mark.parametrize(
    ("outputs", "is_metric", "text"),
    [
        ({"normals", "depth"}, True, "depth, normals"),
        ({"normals", "depth"}, False, "depth_relative (no metres), normals"),
        (set(), False, "none"),
    ],
)
def test_relative_depth_is_named_as_such(outputs: set[str], is_metric: bool, text: str) -> None:
    model = ModelInfo("m", frozenset(outputs), depth_is_metric=is_metric)
    assert model.describe_outputs() == text


def test_destroyed_publishers_are_wanted_by_nobody_and_publish_nothing(world: World):
    info = replace(RELATIVE, samples=2, sample_outputs=BOTH)
    made = ForecastPublishers(world.node, info, 1, publish_features=True)
    world.activate()
    made.destroy()  # while a forward pass runs, at whose end the worker comes back
    assert made.subscribed() == {}
    assert made.subscribed_of_samples() == frozenset()
    made.publish(forecast(1), "camera", None, 0.0)
    made.publish_labels("camera")
