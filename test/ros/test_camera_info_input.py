"""camera_info is heard from publishers of every kind, also what was published before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_bench import Bench
from sensor_msgs.msg import CameraInfo

from dino_foresight_ros.ros.camera_info import CHECK_PERIOD_S, CameraInfoInput

HELD = Parameter("qos_overrides./held.subscription.durability", value="transient_local")
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
VOLATILE, LATCHED = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL


class Listener(Bench):
    """A driver, a node, and the widths of what the node heard."""

    def __init__(self, *overrides: Parameter) -> None:
        super().__init__()
        self.driver = self.make("driver")
        self.node = self.make("listener", parameter_overrides=list(overrides))
        self.widths: list[int] = []

    def publisher(
        self, topic: str, reliability: ReliabilityPolicy, durability: DurabilityPolicy
    ) -> Any:
        qos = QoSProfile(depth=1, reliability=reliability, durability=durability)
        return self.driver.create_publisher(CameraInfo, topic, qos)

    def input(self, topic: str) -> CameraInfoInput:
        return CameraInfoInput(self.node, topic, lambda info: self.widths.append(info.width))


@pytest.fixture
def bench(ros_domain: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Listener]:
    bench = Listener(*getattr(request, "param", ()))
    yield bench
    bench.close()


def test_what_was_latched_before_is_heard_and_what_comes_later(bench: Listener) -> None:
    publisher = bench.publisher("latched", RELIABLE, LATCHED)
    publisher.publish(CameraInfo(width=640))
    bench.spin_for(0.2)
    infos = bench.input("latched")
    assert bench.spin_until(lambda: 640 in bench.widths)
    publisher.publish(CameraInfo(width=320))
    assert bench.spin_until(lambda: bench.widths[-1] == 320)
    infos.close()
    assert bench.spin_until(lambda: publisher.get_subscription_count() == 0)


@pytest.mark.parametrize("reliability", [RELIABLE, BEST_EFFORT])
def test_a_volatile_driver_is_heard_without_a_warning(
    bench: Listener, reliability: ReliabilityPolicy, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.input("volatile")
    publisher = bench.publisher("volatile", reliability, VOLATILE)

    def is_heard() -> bool:
        publisher.publish(CameraInfo(width=640))
        return bool(bench.widths)

    assert bench.spin_until(is_heard)
    bench.spin_for(2 * CHECK_PERIOD_S)
    assert "incompatible" not in "".join(capfd.readouterr())


def test_what_is_latched_is_heard_of_one_that_comes_later_too(bench: Listener) -> None:
    bench.input("later")
    first = bench.publisher("later", RELIABLE, VOLATILE)
    assert bench.spin_until(lambda: first.get_subscription_count() == 1)
    bench.driver.destroy_publisher(first)
    bench.publisher("later", RELIABLE, LATCHED).publish(CameraInfo(width=640))
    assert bench.spin_until(lambda: 640 in bench.widths)


@pytest.mark.parametrize("bench", [(HELD,)], indirect=True, ids=["overridden"])
def test_an_override_of_durability_leaves_one_subscription(bench: Listener) -> None:
    bench.input("held")
    bench.publisher("held", RELIABLE, LATCHED).publish(CameraInfo(width=640))
    assert bench.spin_until(lambda: 640 in bench.widths)
    kinds = [s.qos_profile.durability for s in bench.node.subscriptions if "held" in s.topic_name]
    assert kinds == [LATCHED]
