"""What is published of objects, over DDS, with forecasts made by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from rclpy.lifecycle import LifecycleNode
from ros_bench import Bench
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dino_foresight_ros import msg as messages
from dino_foresight_ros.nodes.forecast.model_info import ModelInfo
from dino_foresight_ros.nodes.forecast.publishers import ForecastPublishers
from dino_foresight_ros.recordings import CameraModel
from dino_foresight_ros.ros.camera_info import camera_info_msg
from dino_foresight_ros.ros.messages import read_step
from dino_foresight_ros.runtime.frame import Forecast
from dino_foresight_ros.scene import Detection, Scene

MODEL = ModelInfo(
    "objects",
    frozenset({"instances", "depth"}),
    ("road", "car"),
    ((1, 2, 3), (4, 5, 6)),
    depth_is_metric=True,
)
BOTH = {"instances", "depth"}
SIZE = (20, 40)
INFO = camera_info_msg(CameraModel.from_fov(80, 40, 60.0), Header())


def step(number: int) -> Scene:
    """One car that comes nearer by a metre a step, two pixels further right."""
    ids, depth = np.zeros(SIZE, np.uint16), np.full(SIZE, 50.0, np.float32)
    x = 10 + 2 * number
    ids[8:12, x : x + 4], depth[8:12, x : x + 4] = 300, 20.0 - number
    car = Detection(300, 1, 0.8, (x, 8.0, 4.0, 4.0), (x + 1.5, 9.5))
    return Scene(
        10**9 + number * 2 * 10**8, step=number, horizon_s=0.2 * number, instances=ids,
        detections=(car,), depth=depth, depth_is_metric=True,
    )  # fmt: skip


MADE = Forecast(10**9, (10**9,), 0.2, (step(1), step(2)), "objects", True, 0.0, step(0))


class World(Bench):
    """A lifecycle node with the topics, and a listener."""

    def __init__(self) -> None:
        super().__init__()
        self.node = self.make("publisher", LifecycleNode)
        self.listener = self.make("listener")
        self.topics = ForecastPublishers(self.node, MODEL, 2, False)
        self.node.trigger_configure()
        self.node.trigger_activate()

    def heard(
        self, kind: type, topic: str, info: CameraInfo | None = INFO, made: Forecast = MADE
    ) -> tuple[Any, Any]:
        """What is asked of the engine while somebody listens, and the message that comes."""
        kept: list[Any] = []
        subscription = self.listener.create_subscription(kind, topic, kept.append, 10)
        assert self.spin_until(lambda: any(self.topics.subscribed().values()))
        wanted = self.topics.subscribed()
        self.topics.publish(made, "cam", info, time.monotonic(), "/image_rect")
        assert self.spin_until(lambda: bool(kept))
        self.listener.destroy_subscription(subscription)
        assert self.spin_until(lambda: not any(self.topics.subscribed().values()))
        return wanted, kept[0]


@pytest.fixture(scope="module")
def world(ros_domain: dict[str, str]) -> Iterator[World]:
    world = World()
    yield world
    world.topics.destroy()
    world.close()


def test_the_list_of_a_step_has_places_and_speeds(world: World) -> None:
    wanted, message = world.heard(messages.Instances, "foresight/step_1/instance_list")
    assert wanted == {0: BOTH, 1: BOTH, 2: set()}  # the step before, for the velocity
    assert (message.step, message.header.frame_id, message.model_name) == (1, "cam", "objects")
    assert message.horizon == pytest.approx(0.2)
    (car,) = message.instances
    assert (car.id, car.class_id, car.class_name) == (300, 1, "car")
    focal = 20 / np.tan(np.radians(30.0))  # of a map 40 pixels wide
    at = [((10 + 2 * k + 1.5 - 20.0) / focal * (20.0 - k), 20.0 - k) for k in (0, 1)]
    assert (car.position.x, car.position.z) == pytest.approx(at[1], abs=0.4)
    assert car.velocity.z == pytest.approx(-5.0)
    assert car.velocity.x == pytest.approx((at[1][0] - at[0][0]) / 0.2, abs=0.5)


def test_all_objects_come_with_every_horizon_and_now(world: World) -> None:
    wanted, message = world.heard(messages.Objects, "foresight/objects")
    assert wanted == dict.fromkeys((0, 1, 2), BOTH)
    (car,) = message.objects
    np.testing.assert_allclose(car.horizons, [0.0, 0.2, 0.4], rtol=1e-6)
    assert [p.z for p in car.positions] == [20.0, 19.0, 18.0]
    np.testing.assert_allclose(car.centroids_x, [11.5, 13.5, 15.5])


def test_the_forecast_has_them_too(world: World) -> None:
    wanted, message = world.heard(messages.Forecast, "foresight/forecast")
    assert wanted == {1: BOTH, 2: BOTH}
    for sent, made in zip(message.steps, MADE.steps, strict=True):
        (car,) = read_step(sent).detections
        assert (car.id, car.box) == (300, made.detections[0].box)
        assert car.position[2] == pytest.approx(20.0 - made.step)


def test_without_calibration_objects_have_no_place(world: World) -> None:
    _, message = world.heard(messages.Instances, "foresight/step_2/instance_list", None)
    assert np.isnan(message.instances[0].position.x)
    assert message.instances[0].centroid_x == 15.5


def test_a_picture_without_an_object_has_an_empty_list(world: World) -> None:
    """Who waits for it is told that nothing is there."""
    bare = [
        replace(one, instances=np.zeros(SIZE, np.uint16), detections=())
        for one in (MADE.step_0, *MADE.steps)
        if one is not None
    ]
    empty = replace(MADE, step_0=bare[0], steps=tuple(bare[1:]))
    _, message = world.heard(messages.Instances, "foresight/step_1/instance_list", made=empty)
    assert (message.step, list(message.instances)) == (1, [])
    _, message = world.heard(messages.Objects, "foresight/objects", made=empty)
    assert list(message.objects) == []


def test_topics_of_objects_go_with_the_output(world: World) -> None:
    def names() -> set[str]:
        own = {publisher.topic_name for publisher in world.node.publishers}
        return {name for name in own if name.endswith(("instance_list", "objects"))}

    steps = {f"/foresight/step_{k}/instance_list" for k in (0, 1, 2)}
    assert names() == {"/foresight/objects", *steps}
    world.topics.change(frozenset({"depth"}), 2, False)
    assert names() == set()
    world.topics.change(MODEL.outputs, 1, False)
    assert names() == {"/foresight/objects", *(sorted(steps)[:2])}
    world.topics.change(MODEL.outputs, 2, False)


def test_several_futures_are_asked_for_where_their_spread_is(world: World) -> None:
    of_several = replace(MODEL, samples=4)
    topics = ForecastPublishers(world.node, of_several, 1, False, folder="several")
    world.node.trigger_deactivate()
    world.node.trigger_activate()
    assert topics.subscribed_of_samples() == frozenset()
    world.listener.create_subscription(messages.Objects, "several/objects", print, 10)
    assert world.spin_until(lambda: topics.subscribed_of_samples() == BOTH)
    topics.destroy()
