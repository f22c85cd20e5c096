"""Every policy and type that keeps a subscription silent is named, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy
from ros_bench import Bench
from sensor_msgs.msg import CompressedImage, Image

from dino_foresight_ros.ros.image_subscription import type_name, unheard_publishers


class Pair(Bench):
    """A camera's driver, and a node that listens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.camera = self.make("driver", namespace="/front")
        self.node = self.make("listener")


@pytest.fixture
def bench(ros_domain: dict[str, str]) -> Iterator[Pair]:
    bench = Pair()
    yield bench
    bench.close()


def profile(**policies: Any) -> QoSProfile:
    return QoSProfile(depth=1, **policies)


SECOND = Duration(seconds=1)
CASES = [
    (
        {"reliability": ReliabilityPolicy.BEST_EFFORT},
        {"reliability": ReliabilityPolicy.RELIABLE},
        "reliability is best_effort there, reliable is asked for here",
        "set image_reliability to auto",
    ),
    (
        {"durability": DurabilityPolicy.VOLATILE},
        {"durability": DurabilityPolicy.TRANSIENT_LOCAL},
        "durability is volatile there, transient_local is asked for here",
        "qos_overrides./silent.subscription.durability",
    ),
    (
        {},
        {"deadline": SECOND},
        "deadline is none there, 1 s is asked for here",
        "qos_overrides./silent.subscription.deadline",
    ),
    (
        {"deadline": Duration(seconds=2)},
        {"deadline": SECOND},
        "deadline is 2 s there, 1 s is asked for here",
        "qos_overrides./silent.subscription.deadline",
    ),
    (
        {"liveliness": LivelinessPolicy.AUTOMATIC},
        {"liveliness": LivelinessPolicy.MANUAL_BY_TOPIC},
        "liveliness is automatic there, manual_by_topic is asked for here",
        "qos_overrides./silent.subscription.liveliness here",
    ),
    (
        {},
        {"liveliness_lease_duration": SECOND},
        "liveliness_lease_duration is none there, 1 s is asked for here",
        "qos_overrides./silent.subscription.liveliness_lease_duration",
    ),
]


@pytest.mark.parametrize(("offered", "asked", "difference", "advice"), CASES)
def test_policy_that_does_not_match_is_named_and_no_message_comes(
    bench: Pair,
    offered: dict[str, Any],
    asked: dict[str, Any],
    difference: str,
    advice: str,
) -> None:
    got: list[Image] = []
    publisher = bench.camera.create_publisher(Image, "/silent", profile(**offered))
    subscription = bench.node.create_subscription(Image, "/silent", got.append, profile(**asked))

    def sentences() -> list[str]:
        return unheard_publishers(bench.node, "/silent", Image, subscription.qos_profile)

    assert bench.spin_until(lambda: bool(sentences()))
    assert len(sentences()) == 1
    assert difference in sentences()[0]
    assert advice in sentences()[0]
    assert sentences()[0].startswith("/front/driver publishes /silent")
    # The middleware agrees: nothing comes.
    publisher.publish(Image())
    bench.spin_until(lambda: bool(got), 0.5)
    assert got == []


def test_two_policies_are_both_named(bench: Pair) -> None:
    offered = profile(reliability=ReliabilityPolicy.BEST_EFFORT)
    bench.camera.create_publisher(Image, "/silent", offered)
    asked = profile(durability=DurabilityPolicy.TRANSIENT_LOCAL)
    assert bench.spin_until(lambda: bench.node.count_publishers("/silent") == 1)
    sentences = unheard_publishers(bench.node, "/silent", Image, asked)
    assert len(sentences) == 2
    assert "durability" in sentences[0]
    assert "reliability" in sentences[1]


def test_fitting_publisher_is_not_named(bench: Pair) -> None:
    bench.camera.create_publisher(Image, "/heard", profile())
    assert bench.spin_until(lambda: bench.node.count_publishers("/heard") == 1)
    for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
        asked = profile(reliability=reliability)
        assert unheard_publishers(bench.node, "/heard", Image, asked) == []


@pytest.mark.parametrize(
    ("published", "expected", "transport"),
    [(CompressedImage, Image, "compressed"), (Image, CompressedImage, "raw")],
)
def test_wrong_type_is_named_with_the_transport_to_set(
    bench: Pair, published: Any, expected: Any, transport: str
) -> None:
    bench.camera.create_publisher(published, "/silent", profile())
    assert bench.spin_until(lambda: bench.node.count_publishers("/silent") == 1)
    sentences = unheard_publishers(bench.node, "/silent", expected, profile())
    assert sentences == [
        f"/silent carries {type_name(published)} (/front/driver publishes it), not "
        f"{type_name(expected)}: set image_transport to {transport} and configure again"
    ]
