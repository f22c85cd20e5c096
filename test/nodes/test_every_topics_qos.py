"""qos_overrides count for every topic that a node has, in and out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy
from ros_bench import TIMEOUT_S, close_node, wait_until
from visualization_msgs.msg import MarkerArray

from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.nodes.monitor.node import MonitorNode
from dino_foresight_ros.nodes.overlay.node import OverlayNode

NODES: dict[str, type[Node]] = {
    "forecast_node": ForecastNode,
    "monitor_node": MonitorNode,
    "overlay_node": OverlayNode,
}
PARAMETERS = {
    "forecast_node": ["bundle:=untrained-tiny", "device:=cpu", "steps:=1"],
    "monitor_node": [],
    "overlay_node": [],
}
# rclpy's own, which it lets nobody override.
OF_RCLPY = {"/parameter_events", "/rosout"}
Entities = dict[tuple[str, str], LivelinessPolicy]


@contextmanager
def running(name: str, parameters: list[str]) -> Iterator[Node]:
    """The node in this process, a managed one when it is active; somebody looks at markers."""
    rclpy.init(args=["--ros-args", *(word for p in parameters for word in ("-p", p))])
    peer = rclpy.create_node("peer", use_global_arguments=False)
    peer.create_subscription(MarkerArray, "/foresight/markers", print, 1)
    node = NODES[name]()
    try:
        if isinstance(node, LifecycleNode):
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        if name == "overlay_node":
            spin_until_heard(node, "/foresight/forecast")
        yield node
    finally:
        close_node(node)
        close_node(peer)
        rclpy.shutdown()


def spin_until_heard(node: Node, topic: str) -> None:
    """Let the node's timers run until it subscribes to a topic."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def is_heard() -> bool:
        executor.spin_once(timeout_sec=0.02)
        return topic in {subscription.topic_name for subscription in node.subscriptions}

    assert wait_until(is_heard, TIMEOUT_S)
    executor.remove_node(node)
    executor.shutdown()


def entities(node: Node) -> Entities:
    """Liveliness, which no node of ours sets, of all publishers and subscriptions."""
    found = {("publisher", p.topic_name): p.qos_profile.liveliness for p in node.publishers}
    found |= {("subscription", s.topic_name): s.qos_profile.liveliness for s in node.subscriptions}
    return {key: value for key, value in found.items() if key[1] not in OF_RCLPY}


@pytest.mark.usefixtures("ros_domain")
@pytest.mark.parametrize("name", NODES)
def test_every_topic_takes_its_overrides(name: str) -> None:
    with running(name, PARAMETERS[name]) as node:
        usual = entities(node)
    assert len(usual) > 8
    assert LivelinessPolicy.MANUAL_BY_TOPIC not in usual.values()
    given = [
        f"qos_overrides.{topic}.{entity}.liveliness:=manual_by_topic" for entity, topic in usual
    ]
    with running(name, [*PARAMETERS[name], *given]) as node:
        assert entities(node) == dict.fromkeys(usual, LivelinessPolicy.MANUAL_BY_TOPIC)
