"""Nodes in a test's own process: made, spun by the test and closed so that nothing stays behind."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import rclpy.client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

from dino_foresight_ros.nodes.forecast.lifecycle import end_lifecycle

TIMEOUT_S = 120.0
"""How long a condition is waited for, also on a busy machine; a wait ends once it holds."""
RETRY_S = 15.0
"""How long a service's answer is waited for before it is asked again."""
AnyNode = TypeVar("AnyNode", bound=Node)

on_timeout: list[Callable[[], None]] = []
"""What is done where a wait of `TIMEOUT_S` or longer ran out: nodes tell where they are."""


def wait_until(condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> bool:
    return _until(condition, timeout_s, lambda: time.sleep(0.02))


def _until(condition: Callable[[], bool], timeout_s: float, wait: Callable[[], None]) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (holds := condition()) and time.monotonic() < deadline:
        wait()
    if not holds and timeout_s >= TIMEOUT_S:
        for act in on_timeout:
            act()
    return holds


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
        return _until(condition, timeout_s, lambda: self.executor.spin_once(timeout_sec=0.02))

    def spin_for(self, seconds: float) -> None:
        self.spin_until(lambda: False, seconds)

    def ask(self, client: rclpy.client.Client, request: Any) -> Any:
        """The answer of a service, which is asked again after a while without one.

        A server drops an answer where it has not found the asking client within 0.1 s, although
        the client has found the server. What was done at first may so be asked twice.
        """
        assert self.spin_until(client.service_is_ready), f"nobody serves {client.srv_name}"
        futures: list[Any] = []
        asked_s = -math.inf

        def is_answered() -> bool:
            nonlocal asked_s
            if time.monotonic() > asked_s + RETRY_S:
                asked_s = time.monotonic()
                futures.append(client.call_async(request))
            return any(future.done() for future in futures)

        assert self.spin_until(is_answered), f"{client.srv_name} gave no answer"
        return next(future for future in futures if future.done()).result()

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
