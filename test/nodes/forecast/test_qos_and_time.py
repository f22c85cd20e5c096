"""A forecast node with overridden QoS and simulated time, over DDS."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import INTERVAL_NS, Client, NodeProcess, stamp_of, values_of
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_bench import wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from dino_foresight_ros import msg as messages
from dino_foresight_ros.ros.time import ns_to_time

START_NS = 1_600_000_000 * 10**9
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


PARAMETERS = (
    "device:=cpu",
    "steps:=1",
    "stream_timeout_s:=1.0",
    "max_age_ms:=1000.0",
    "use_sim_time:=true",
    "qos_overrides./image.subscription.reliability:=reliable",
    "qos_overrides./foresight/forecast.publisher.durability:=transient_local",
    "qos_overrides./foresight/forecats.publisher.depth:=3",
)


class Driver:
    """A recording's player: images and /clock, whose time goes on from test to test."""

    next_ns = START_NS

    def __init__(self, client: Client) -> None:
        self.client = client
        self.images = client.images = client.node.create_publisher(Image, "image", 5)
        self.clock = client.node.create_publisher(Clock, "/clock", 10)
        for publisher in (self.images, self.clock):
            assert client.spin_until(lambda p=publisher: p.get_subscription_count() > 0)

    def play(self, late_ns: int = 0) -> int:
        """A frame, and a clock that is ahead of it; return the frame's stamp."""
        stamp_ns = Driver.next_ns
        Driver.next_ns += INTERVAL_NS
        self.clock.publish(Clock(clock=ns_to_time(stamp_ns + late_ns)))
        self.client.spin_for(0.05)
        self.client.publish(stamp_ns)
        self.client.spin_until(lambda: self.client.has_heard_of(stamp_ns), 0.1)
        return stamp_ns

    def play_until(self, condition: Callable[[], bool], late_ns: int = 0) -> list[int]:
        stamps: list[int] = []

        def holds() -> bool:
            if not condition():
                stamps.append(self.play(late_ns))
            return condition()

        assert wait_until(holds)
        return stamps

    def close(self) -> None:
        for publisher in (self.images, self.clock):
            self.client.node.destroy_publisher(publisher)


@pytest.fixture(scope="module")
def client(ros_domain: dict[str, str], node: NodeProcess) -> Iterator[Client]:
    """A peer without a camera, of a node that has met neither a camera nor a clock."""
    client = Client()
    client.node.destroy_publisher(client.images)
    node.wait_for_text("no image came yet on /image for 1 s; image topics with a publisher: none")
    node.wait_for_text("use_sim_time is true, but /clock does not run (nobody publishes it)")
    yield client
    client.close()


@pytest.fixture
def driver(client: Client) -> Iterator[Driver]:
    driver = Driver(client)
    yield driver
    driver.close()
    client.unsubscribe()


def test_override_without_effect_is_named(client: Client, node: NodeProcess) -> None:
    assert (
        "parameter qos_overrides./foresight/forecats.publisher.depth has no effect: this node has "
        "no publisher on /foresight/forecats now; did you mean /foresight/forecast?" in node.text
    )


def test_diagnostics_come_while_no_clock_runs(client: Client) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    assert client.spin_until(
        lambda: (
            len(diagnostics) >= 2 and diagnostics[-1].status[0].message.startswith("no image for")
        )
    )
    client.unsubscribe()


def test_publisher_of_incompatible_qos_is_named_with_the_policy(
    client: Client, node: NodeProcess
) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    images = client.node.create_publisher(Image, "image", BEST_EFFORT)
    node.wait_for_text(
        "/test_client publishes /image with an incompatible QoS: reliability is best_effort "
        "there, reliable is asked for here"
    )
    count = len(diagnostics)
    assert client.spin_until(lambda: len(diagnostics) > count + 3)  # it looked again
    assert node.text.count("incompatible QoS: reliability") == 1
    client.node.destroy_publisher(images)
    client.unsubscribe()


def test_publisher_of_another_type_is_named_with_what_to_set(
    client: Client, node: NodeProcess
) -> None:
    images = client.node.create_publisher(CompressedImage, "image", 5)
    node.wait_for_text(
        "/image carries sensor_msgs/msg/CompressedImage (/test_client publishes it), not "
        "sensor_msgs/msg/Image: set image_transport to compressed and configure again"
    )
    client.node.destroy_publisher(images)


def test_forecasts_follow_simulated_time_and_reach_who_comes_late(
    client: Client, driver: Driver
) -> None:
    # By the system's clock these frames are years old; by /clock they are fresh.
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    driver.play_until(lambda: bool(forecasts))
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    late: list[Any] = []
    client.node.create_subscription(messages.Forecast, "foresight/forecast", late.append, qos)
    assert client.spin_until(lambda: bool(late))


def test_frame_that_is_old_by_simulated_time_is_not_forecast(
    client: Client, node: NodeProcess, driver: Driver
) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    driver.play_until(
        lambda: bool(diagnostics) and "dropped.too_old" in values_of(diagnostics[-1]),
        late_ns=3 * 10**9,
    )
    node.wait_for_text("more than max_age_ms allows (1000 ms)")
    assert "if this is a recording" not in node.text


def test_clock_that_jumps_back_restarts_the_context(
    client: Client, node: NodeProcess, driver: Driver
) -> None:
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    before_ns = Driver.next_ns
    driver.play_until(lambda: bool(forecasts))
    Driver.next_ns = before_ns - 50 * 10**9

    def after() -> list[Any]:
        return [f for f in forecasts if stamp_of(f.header.stamp) < before_ns]

    stamps = driver.play_until(lambda: bool(after()))
    # Of new frames only; on a busy machine not always the very first four.
    assert {stamp_of(stamp) for stamp in after()[0].context_stamps} <= set(stamps)
    node.wait_for_text("(a recording that loops?); the context starts anew")


@pytest.mark.process
def test_node_starts_without_waiting_for_torch() -> None:
    # A signal or a bad parameter must not wait for it either.
    code = "import sys, dino_foresight_ros.nodes.forecast.node; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
