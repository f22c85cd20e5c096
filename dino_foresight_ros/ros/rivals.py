"""Notices another node that publishes on the same topic, so that the messages of both mix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rclpy.node import Node

from dino_foresight_ros.ros.timers import steady_timer

CHECK_PERIOD_S = 2.0
_NAMELESS = "a program without a node's name"
LEASE_S = 22.0
"""A process that was killed stays in the graph for the 20 s of its participant's lease."""


def other_publishers(node: Node, topic: str) -> list[str]:
    """Full names of the other nodes that publish on a topic that the node publishes on.

    The node's own name is among them where another node has the same.

    Args:
        node: publishes once on the topic.
        topic: its full name.
    """
    if node.count_publishers(topic) < 2:
        return []
    names = [
        _NAMELESS
        if "_UNKNOWN_" in info.node_name  # of a node that is being discovered, or of no ROS node
        else f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        for info in node.get_publishers_info_by_topic(topic)
    ]
    own = node.get_fully_qualified_name()
    if own in names:
        names.remove(own)
    return sorted(set(names))


def describe(node_name: str, topic: str, others: list[str]) -> str:
    """Say who else publishes.

    Args:
        node_name: full name of the node that says it.
        topic: full name.
        others: from `other_publishers`.
    """
    named = [f"{name} (a second node of this name)" if name == node_name else name
             for name in others]  # fmt: skip
    return (
        f"{', '.join(named)} publishes on {topic} as well: subscribers get a mixture; end one of "
        "them, or give it a namespace"
    )


class RivalWatch:
    """Tells once of other publishers on a node's topics, when they have stayed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._since_s: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    @property
    def topics(self) -> list[str]:
        """Topics that others publish on as well."""
        return sorted({topic for topic, _ in self._told})

    def check(self, topics: Iterable[str], now_s: float) -> list[str]:
        """To be called now and then; returns what to warn of.

        Args:
            topics: full names of those that the node publishes on, once each.
            now_s: seconds of a clock that never stands still.
        """
        present = [(topic, name) for topic in topics for name in self._others(topic)]
        self._since_s = {one: self._since_s.get(one, now_s) for one in present}
        stayed = {one for one, since_s in self._since_s.items() if now_s - since_s >= LEASE_S}
        new, self._told = stayed - self._told, stayed
        own = self._node.get_fully_qualified_name()
        return [
            describe(own, topic, [name for of, name in sorted(new) if of == topic])
            for topic in sorted({topic for topic, _ in new})
        ]

    def _others(self, topic: str) -> list[str]:
        return other_publishers(self._node, topic)


def warn_of_rivals(node: Node, topics: Callable[[], Iterable[str]]) -> RivalWatch:
    """Look for other publishers on a node's topics from time to time, and warn of them.

    Args:
        node: that warns.
        topics: gives the full names of those that it publishes on now, once each.
    """
    watch = RivalWatch(node)

    def check() -> None:
        for sentence in watch.check(topics(), time.monotonic()):
            node.get_logger().warning(sentence)

    steady_timer(node, CHECK_PERIOD_S, check)
    return watch
