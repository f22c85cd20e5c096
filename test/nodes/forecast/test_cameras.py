"""One forecast node for several cameras, seen over DDS: sizes, rates, deaths, accounts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import (
    INTERVAL_NS,
    Client,
    NodeProcess,
    picture,
    rgb_message,
    stamp_of,
    values_of,
)
from rclpy.qos import qos_profile_sensor_data
from ros_bench import wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dino_foresight_ros import msg as messages
from dino_foresight_ros.runtime import Forecast, Foresight

SIZES = {"left": (120, 200), "front": (60, 100), "right": (90, 160)}
OFFSETS_NS = {"left": 0, "front": 7_000_000, "right": 15_000_000}


def PARAMETERS(folder: Path) -> tuple[str, ...]:  # noqa: N802 - of the fixture `node`
    """Of a node whose fourth camera never comes."""
    return (
        f"bundle:={make_micro_bundle().save(folder / 'micro')}",
        "cameras:=[left,front,right,gone]",
        "camera_topic:=rig/{camera}/image",
        "steps:=2",
        "device:=cpu",
        "dtype:=float32",
        "stream_timeout_s:=1.0",
    )


class Rig:
    """Three cameras that a client publishes, and what it hears about them."""

    def __init__(self) -> None:
        self.client = Client()
        self.next_ns = time.time_ns()
        self.images = {
            name: self.client.node.create_publisher(
                Image, f"rig/{name}/image", qos_profile_sensor_data
            )
            for name in SIZES
        }
        self.forecasts: dict[str, list[Any]] = {}
        self.diagnostics = self.client.subscribe(DiagnosticArray, "/diagnostics")

    def listen(self, *names: str) -> None:
        for name in set(names) - self.forecasts.keys():
            topic = f"{name}/foresight/forecast"
            self.forecasts[name] = self.client.subscribe(messages.Forecast, topic)

    def publish(self, name: str, stamp_ns: int, **changes: Any) -> None:
        message = rgb_message(stamp_ns, SIZES[name], **changes)
        message.header = Header(stamp=message.header.stamp, frame_id=f"/{name}_optical")
        self.images[name].publish(message)

    def run(
        self, *names: str, until: Callable[[], bool], jumps_ns: dict[str, int] | None = None
    ) -> None:
        """Frames of the cameras in real time, the front one at twice the rate, until it holds."""
        jumps_ns = jumps_ns or {}

        def holds() -> bool:
            if until():
                return True
            for half in range(2):
                for name in names:
                    if half == 0 or name == "front":
                        stamp = self.next_ns + OFFSETS_NS[name] + jumps_ns.get(name, 0)
                        self.publish(name, stamp)
                self.next_ns += INTERVAL_NS // 2
                self.client.spin_for(INTERVAL_NS / 2e9)
            return until()

        assert wait_until(holds), {n: len(f) for n, f in self.forecasts.items()} | self.newest()

    def newest(self) -> dict[str, str]:
        return values_of(self.diagnostics[-1]) if self.diagnostics else {}

    def count(self, camera: str, key: str) -> int:
        return int(self.newest().get(f"camera.{camera}.{key}", 0))

    def settle(self) -> None:
        """Until nothing is in flight, by three messages one after the other."""
        seen = len(self.diagnostics)
        assert self.client.spin_until(
            lambda: (
                len(self.diagnostics) >= seen + 3
                and {values_of(one)["in_flight"] for one in self.diagnostics[-3:]} == {"0"}
            )
        )

    def grows(self, *names: str, by: int = 2) -> Callable[[], bool]:
        before = {name: len(self.forecasts[name]) for name in names}
        return lambda: all(len(self.forecasts[n]) >= before[n] + by for n in names)


@pytest.fixture(scope="module")
def rig(node: NodeProcess) -> Iterator[Rig]:
    rig = Rig()
    assert rig.client.spin_until(
        lambda: all(images.get_subscription_count() for images in rig.images.values())
    )
    yield rig
    rig.client.close()


def test_cameras_that_nobody_listens_to_are_not_computed(rig: Rig) -> None:
    rig.listen("left")
    rig.run(*SIZES, until=rig.grows("left"))
    rig.run(*SIZES, until=lambda: rig.count("right", "dropped.unwanted") > 2)
    assert rig.count("right", "forecasts_published") == 0
    assert rig.count("right", "dropped.context_only") == 0
    assert rig.newest()["camera.right.context"] == "0/4 frames"


def test_each_camera_has_topics_and_a_frame_of_its_own(rig: Rig) -> None:
    topics = dict(rig.client.node.get_topic_names_and_types())
    for name in (*SIZES, "gone"):
        for topic in ("forecast", "labels", "step_1/depth", "step_2/segmentation_color"):
            assert f"/{name}/foresight/{topic}" in topics
        assert f"/rig/{name}/camera_info" in topics
    assert "/foresight/forecast" not in topics
    labels = {
        n: rig.client.subscribe(messages.Labels, f"{n}/foresight/labels", latched=True)
        for n in SIZES
    }
    infos = rig.client.node.create_publisher(CameraInfo, "rig/front/camera_info", 1)
    assert rig.client.spin_until(lambda: infos.get_subscription_count() > 0)
    info = CameraInfo(height=60, width=100, k=[50.0, 0, 50, 0, 50, 30, 0, 0, 1])
    scaled = rig.client.subscribe(CameraInfo, "front/foresight/step_1/camera_info")
    others = rig.client.subscribe(CameraInfo, "right/foresight/step_1/camera_info")
    rig.listen("front", "right")

    def has_info() -> bool:
        infos.publish(info)
        return bool(scaled)

    rig.run(*SIZES, until=has_info)
    rig.run(*SIZES, until=rig.grows(*SIZES))
    for name in SIZES:
        assert {f.header.frame_id for f in rig.forecasts[name]} == {f"{name}_optical"}
        assert labels[name][-1].header.frame_id == f"{name}_optical"
    assert scaled[0].header.frame_id == "front_optical"
    assert (scaled[0].height, scaled[0].width, scaled[0].k[0]) == (32, 48, pytest.approx(24.0))
    assert others == []


def alone(camera: str, context_ns: list[int]) -> Forecast:
    """What an engine for this camera alone makes of the frames with these stamps."""
    engine = Foresight(make_micro_bundle(), steps=2)
    forecast = None
    for stamp_ns in context_ns:
        forecast = engine.update(picture(stamp_ns, SIZES[camera]), stamp_ns)
    assert forecast is not None
    return forecast


def test_forecasts_of_a_batch_equal_those_of_each_camera_alone(rig: Rig) -> None:
    """Whatever was grouped, replaced or late: the context's stamps tell what went in."""
    rig.listen(*SIZES)
    rig.run(*SIZES, until=rig.grows(*SIZES))
    for name in SIZES:
        for message in rig.forecasts[name][-2:]:
            expected = alone(name, [stamp_of(stamp) for stamp in message.context_stamps])
            assert stamp_of(message.header.stamp) == expected.stamp_ns
            for step, want in zip(message.steps, expected.steps, strict=True):
                for key in ("depth", "normals", "confidence"):
                    image, array = getattr(step, key), getattr(want, key)
                    got = np.frombuffer(image.data, np.float32).reshape(array.shape)
                    np.testing.assert_allclose(got, array, rtol=1e-4, atol=1e-4)
                ids = np.frombuffer(step.segmentation.data, np.uint8)
                assert np.mean(ids != want.segmentation.ravel()) < 1e-3


def test_a_camera_that_dies_and_returns_does_not_stop_the_others(rig: Rig) -> None:
    rig.listen(*SIZES)
    rig.run(*SIZES, until=rig.grows(*SIZES))

    def silent() -> set[str]:
        told = rig.diagnostics[-1].status[0].message.partition("no image from ")[2]
        return set(SIZES) & set(told.partition(";")[0].split(", "))

    rig.run("left", "right", until=lambda: silent() == {"front"})
    dead = rig.forecasts["front"]
    rig.settle()
    count = len(dead)
    rig.run("left", "right", until=rig.grows("left", "right", by=3))
    assert len(dead) == count
    assert rig.diagnostics[-1].status[0].level != b"\x03"  # STALE is for when nothing comes
    returned_ns = rig.next_ns
    rig.run(*SIZES, until=rig.grows(*SIZES))
    rig.run(*SIZES, until=lambda: not silent())
    after = [f for f in dead if stamp_of(f.header.stamp) >= returned_ns]
    assert stamp_of(after[0].context_stamps[0]) >= returned_ns


def test_one_camera_s_time_jump_and_bad_images_are_its_own(rig: Rig) -> None:
    rig.listen(*SIZES)
    hour_ns = 3600 * 10**9
    start_ns = rig.next_ns

    def jumped() -> bool:
        old = [
            f for f in rig.forecasts["left"] if stamp_of(f.header.stamp) < start_ns - hour_ns // 2
        ]
        return len(old) >= 2

    others = rig.grows("front", "right")
    rig.run(*SIZES, until=lambda: jumped() and others(), jumps_ns={"left": -hour_ns})
    bad_before = rig.count("right", "dropped.bad_image")
    more = rig.grows("left", "front")

    def break_right() -> bool:
        rig.publish("right", rig.next_ns + OFFSETS_NS["right"], encoding="16UC1")
        return more() and rig.count("right", "dropped.bad_image") > bad_before

    rig.run("left", "front", until=break_right)
    assert rig.count("left", "dropped.bad_image") == rig.count("front", "dropped.bad_image") == 0
    rig.run(*SIZES, until=rig.grows(*SIZES))


def test_frames_of_each_camera_and_of_all_are_accounted_for(rig: Rig) -> None:
    """Every report of the shared node's life adds up."""
    rig.listen(*SIZES)
    rig.run(*SIZES, until=rig.grows(*SIZES))
    rig.settle()
    fields = ("frames_received", "forecasts_published", "dropped_total", "in_flight")
    for message in rig.diagnostics:
        values = values_of(message)
        for prefix in ("", *(f"camera.{name}." for name in (*SIZES, "gone"))):
            received, published, dropped, in_flight = (int(values[prefix + k]) for k in fields)
            assert received == published + dropped + in_flight
            reasons = [int(v) for k, v in values.items() if k.startswith(f"{prefix}dropped.")]
            assert sum(reasons) == dropped
    last = rig.newest()
    for key in fields:
        assert int(last[key]) == sum(int(last[f"camera.{n}.{key}"]) for n in SIZES)
    assert last["in_flight"] == "0"
    assert last["camera.gone.frames_received"] == "0"
    for name in SIZES:
        assert int(last[f"camera.{name}.forecasts_published"]) >= len(rig.forecasts[name]) > 0


def test_fill_context_is_switched_while_it_runs(rig: Rig) -> None:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    def change(name: str, value: Any) -> Any:
        wish = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return rig.client.call(SetParameters, "/forecast_node/set_parameters", wish).results[0]

    assert change("fill_context", False).successful
    refused = change("cameras", ["left"])
    assert not refused.successful
    assert "unconfigured" in refused.reason
    rig.listen("left")
    rig.settle()
    encoded, replaced = (rig.count("left", f"dropped.{k}") for k in ("context_only", "superseded"))

    def are_replaced() -> bool:
        for _ in range(10):  # faster than any model
            rig.publish("left", rig.next_ns)
            rig.next_ns += INTERVAL_NS // 4
        rig.client.spin_for(0.2)
        return rig.count("left", "dropped.superseded") > replaced + 3

    assert wait_until(are_replaced), rig.newest()
    rig.settle()
    assert rig.count("left", "dropped.context_only") == encoded
    assert change("fill_context", True).successful
