"""Another publisher on a node's topic is named once it has stayed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from ros_bench import Bench
from std_msgs.msg import Empty

from dino_foresight_ros.ros.rivals import LEASE_S, RivalWatch, other_publishers

TOPIC = "/foresight/forecast"


@pytest.fixture
def benches(ros_domain: dict[str, str]) -> Iterator[tuple[Bench, Bench]]:
    """Two participants, as two processes are."""
    made = Bench(), Bench()
    yield made
    for bench in made:
        bench.close()


@pytest.mark.parametrize(
    ("name", "namespace", "said"),
    [
        ("forecast_node", "", "/forecast_node (a second node of this name)"),
        ("other", "/robot1", "/robot1/other"),
    ],
)
def test_another_publisher_is_named_once(
    benches: tuple[Bench, Bench], name: str, namespace: str, said: str
) -> None:
    mine, theirs = benches
    node = mine.make("forecast_node")
    own = node.create_publisher(Empty, TOPIC, 1)
    watch = RivalWatch(node)
    assert mine.spin_until(lambda: node.count_publishers(TOPIC) == 1)
    assert watch.check([TOPIC], 0.0) == []
    other = theirs.make(name, namespace=namespace)
    rival = other.create_publisher(Empty, TOPIC, 1)
    assert mine.spin_until(lambda: other_publishers(node, TOPIC) == [said.partition(" ")[0]])
    # A killed process of before is in the graph for a while.
    assert watch.check([TOPIC], 100.0) == []
    assert watch.check([TOPIC], 100.0 + LEASE_S - 1.0) == []
    assert watch.topics == []
    (sentence,) = watch.check([TOPIC], 100.0 + LEASE_S)
    assert sentence.startswith(f"{said} publishes on {TOPIC} as well: ")
    assert watch.topics == [TOPIC]
    assert watch.check([TOPIC], 200.0) == []
    other.destroy_publisher(rival)
    assert mine.spin_until(lambda: node.count_publishers(TOPIC) == 1)
    assert watch.check([TOPIC], 201.0) == []
    assert watch.topics == []
    node.destroy_publisher(own)
