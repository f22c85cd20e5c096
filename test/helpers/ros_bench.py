"""Nodes in a test's own process: made, spun by the test and closed so that nothing stays behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import rclpy.client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

from dino_foresight_ros.ros.lifecycle import end_lifecycle

TIMEOUT_S = 30.0
"""How long a condition is waited for, also on a busy machine; a wait ends once it holds."""
AnyNode = TypeVar("AnyNode", bound=Node)


def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


class Bench:
    """Nodes of one context, which is one DDS participant, in a domain that nobody else uses."""

    def __init__(self, domain_id: int | None = None) -> None:
        is_claimed = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") == "LOCALHOST"
        assert is_claimed, "the fixture ros_domain is missing: others would hear these nodes"
        self.context = Context()
        self.context.init(domain_id=domain_id)
        self.executor = SingleThreadedExecutor(context=self.context)
        self._nodes: list[Node] = []

    def make(self, name: str, kind: Callable[..., AnyNode] = Node, **options: Any) -> AnyNode:
        """Make a node that is spun and closed with the others."""
        node = kind(name, context=self.context, **options)
        self.executor.add_node(node)
        self._nodes.append(node)
        return node

    def spin_until(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)
        return condition()

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def ask(self, client: rclpy.client.Client, request: Any) -> Any:
        """The answer of a service, which is asked again after a while without one.

        A server drops an answer where it has not found the asking client within 0.1 s, although
        the client has found the server. What was done at first may so be asked twice.
        """
        assert client.wait_for_service(timeout_sec=TIMEOUT_S)
        futures = []
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            futures.append(client.call_async(request))
            self.spin_until(lambda: any(future.done() for future in futures), TIMEOUT_S / 6)
            for future in futures:
                if future.done():
                    return future.result()
        raise AssertionError(f"{client.srv_name} did not answer in {TIMEOUT_S} s")

    def close(self) -> None:
        self.executor.shutdown()
        for node in self._nodes:
            close_node(node)
        self.context.try_shutdown()


def close_node(node: Node) -> None:
    """Destroy a node so that no other of its domain sees it any more, a managed node too.

    A question by a node's name may otherwise be answered for an older namesake.
    """
    node.destroy_node()
    if isinstance(node, LifecycleNode):
        end_lifecycle(node)


def published_topics(node: Node) -> set[str]:
    """The topics that anybody publishes now, as the node sees them.

    Unlike the topics of a node by its name this cannot meet a namesake.
    """
    names = {name for name, _ in node.get_topic_names_and_types()}
    return {name for name in names if node.count_publishers(name)}
