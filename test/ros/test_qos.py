"""qos_overrides reach the middleware, and what could not is refused or said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from ros_bench import Bench
from sensor_msgs.msg import Image

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.ros.qos import (
    check_overrides,
    image_input_qos,
    is_overridden,
    output_qos,
    overrides,
    unused_overrides,
)

Make = Callable[..., Node]


@pytest.fixture
def make(ros_domain: dict[str, str]) -> Iterator[Make]:
    bench = Bench()

    def build(*given: str) -> Node:
        arguments = ["--ros-args"]
        for text in given:
            arguments += ["-p", f"qos_overrides.{text}"]
        return bench.make("node", namespace="/ns", cli_args=arguments)

    yield build
    bench.close()


def test_given_policies_replace_the_nodes_own(make: Make) -> None:
    node = make(
        "/ns/image.subscription.reliability:=reliable",
        "/ns/image.subscription.depth:=7",
        "/ns/out.publisher.durability:=transient_local",
    )
    check_overrides(node)
    subscription = node.create_subscription(
        Image,
        "image",
        print,
        image_input_qos(),
        qos_overriding_options=overrides(node, "image", "subscription"),
    )
    publisher = node.create_publisher(
        Image,
        "out",
        output_qos(),
        qos_overriding_options=overrides(node, "out", "publisher"),
    )
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert subscription.qos_profile.depth == 7
    assert publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert publisher.qos_profile.depth == 5
    name = "qos_overrides./ns/image.subscription.reliability"
    assert node.get_parameter(name).value == "reliable"
    assert node.describe_parameter(name).read_only
    assert unused_overrides(node) == []
    assert is_overridden(node, "image", "subscription", "reliability")
    assert not is_overridden(node, "image", "subscription", "durability")
    assert not is_overridden(node, "image", "publisher", "reliability")


def test_entity_without_overrides_declares_no_parameters(make: Make) -> None:
    node = make("/ns/image.subscription.depth:=7")
    assert overrides(node, "image", "publisher") is None
    assert overrides(node, "other", "subscription") is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("/image.subscription.reliability:=relaible", "'relaible' is unknown; valid: .*reliable"),
        ("/image.subscription.reliability:=3", "3 is unknown; valid: "),
        ("/image.subscription.speed:=3", "policy 'speed' is unknown; valid: history, reliability"),
        ("/image.subscription.lifespan:=3", "policy 'lifespan' is unknown"),
        ("/image.subscription.depth:=0", "0 is not a whole number from 1 up"),
        ("/image.subscription.deadline:=0.5", "0.5 is not a whole number of nanoseconds"),
        ("/image.subscripton.depth:=1", "is no such name; valid: qos_overrides.TOPIC.publisher"),
        ("image.subscription.depth:=1", "with the topic's full name"),
    ],
)
def test_what_could_not_work_is_refused(make: Make, given: str, reason: str) -> None:
    node = make(given)
    with pytest.raises(UsageError, match=reason) as caught:
        check_overrides(node)
    assert given.split(":=")[0] in str(caught.value)


def test_override_of_a_topic_that_is_not_there_is_named_with_the_nearest(make: Make) -> None:
    node = make("/ns/imag.subscription.depth:=2", "/ns/image.publisher.depth:=2")
    check_overrides(node)
    node.create_subscription(Image, "image", print, image_input_qos())
    sentences: list[Any] = unused_overrides(node)
    assert len(sentences) == 2
    assert "no subscription on /ns/imag now; did you mean /ns/image?" in sentences[0]
    assert "no publisher on /ns/image now" in sentences[1]
    # A topic that is subscribed to only while somebody looks is no mistake.
    later = unused_overrides(node, ["imag"])
    assert len(later) == 1
    assert "no publisher on /ns/image now" in later[0]
