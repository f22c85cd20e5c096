"""Quality of service: of each kind of topic, and the qos_overrides that change it for one topic.

Reliable outputs match every subscriber and a best-effort image input matches every publisher;
depth 1 on the input because a frame that was overtaken is worth nothing.

qos_overrides are parameters as rclcpp has them, named qos_overrides.TOPIC.ENTITY.POLICY, for
example qos_overrides./camera/image_raw.subscription.reliability; ENTITY is publisher or
subscription.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

from rclpy.event_handler import PublisherEventCallbacks, QoSPublisherMatchedInfo
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from dino_foresight_ros.errors import UsageError

Entity = Literal["publisher", "subscription"]

PREFIX = "qos_overrides."
_NAME = re.compile(r"qos_overrides\.(?P<topic>/.*)\.(?P<entity>[a-z]+)\.(?P<policy>[a-z_]+)")
_CHOICES: dict[str, Any] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}
_NUMBERS = {"depth": 1, "deadline": 0, "lifespan": 0, "liveliness_lease_duration": 0}
_POLICIES = (*_CHOICES, *_NUMBERS)


def image_input_qos(
    reliability: ReliabilityPolicy = ReliabilityPolicy.BEST_EFFORT, depth: int = 1
) -> QoSProfile:
    """Sensor data: best effort unless told otherwise, keep last, volatile."""
    return _keep_last(depth, reliability)


def camera_info_input_qos() -> QoSProfile:
    """Of camera_info that comes with every image the newest is enough."""
    return _keep_last(1, ReliabilityPolicy.BEST_EFFORT)


def output_qos(depth: int = 5) -> QoSProfile:
    """Results and published camera images: reliable, keep last, volatile."""
    return _keep_last(depth, ReliabilityPolicy.RELIABLE)


def latched_qos() -> QoSProfile:
    """What late subscribers must still get: reliable, transient local, the last one."""
    profile = _keep_last(1, ReliabilityPolicy.RELIABLE)
    profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


def _keep_last(depth: int, reliability: ReliabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability)


def advertise(
    node: Node,
    kind: type,
    topic: str,
    qos: QoSProfile,
    on_matched: Callable[[QoSPublisherMatchedInfo], None] | None = None,
) -> Any:
    """Create a publisher whose quality of service may be overridden.

    Args:
        node: that publishes.
        kind: of the messages.
        topic: its name.
        qos: unless overridden.
        on_matched: is told of subscriptions that come and go.
    """
    given = overrides(node, topic, "publisher")
    events = PublisherEventCallbacks(matched=on_matched) if on_matched else None
    return node.create_publisher(
        kind, topic, qos, event_callbacks=events, qos_overriding_options=given
    )


def subscribe(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
) -> Any:
    """Create a subscription whose quality of service may be overridden."""
    given = overrides(node, topic, "subscription")
    return node.create_subscription(kind, topic, callback, qos, qos_overriding_options=given)


def overrides(node: Node, topic: str, entity: Entity) -> QoSOverridingOptions | None:
    """What is overridden of a topic's entity; None where nothing is.

    Only those policies become parameters, so that dozens of topics do not flood the list.
    """
    name = node.resolve_topic_name(topic)
    kinds = [
        QoSPolicyKind[match["policy"].upper()]
        for match in map(_NAME.fullmatch, _given(node))
        if match is not None and (match["topic"], match["entity"]) == (name, entity)
    ]
    return QoSOverridingOptions(kinds) if kinds else None


def is_overridden(node: Node, topic: str, entity: Entity, policy: str) -> bool:
    """Whether one policy of a topic's entity is overridden."""
    return f"{PREFIX}{node.resolve_topic_name(topic)}.{entity}.{policy}" in _given(node)


def check_overrides(node: Node) -> None:
    """Refuse what no entity could use.

    Raises:
        UsageError: a name that is none, an unknown policy, or a value that is not valid.
    """
    for name, parameter in _given(node).items():
        reason = _problem(name, parameter.value)
        if reason is not None:
            raise UsageError(f"parameter {name}: {reason}")


def unused_overrides(node: Node, heard_later: Iterable[str] = ()) -> list[str]:
    """One sentence for each override of a topic that the node does not have.

    Args:
        node: with its publishers and subscriptions.
        heard_later: topics that it is going to subscribe to.
    """
    publishers = {p.topic_name for p in node.publishers}
    subscriptions = {s.topic_name for s in node.subscriptions}
    subscriptions |= {node.resolve_topic_name(topic) for topic in heard_later}
    sentences = []
    for name in sorted(_given(node)):
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        topics = publishers if match["entity"] == "publisher" else subscriptions
        if match["topic"] not in topics:
            near = difflib.get_close_matches(match["topic"], topics, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            sentences.append(
                f"parameter {name} has no effect: this node has no {match['entity']} on "
                f"{match['topic']} now{hint}"
            )
    return sentences


def warn_of_unused_overrides(node: Node, heard_later: Iterable[str] = ()) -> None:
    """Log what `unused_overrides` finds."""
    for sentence in unused_overrides(node, heard_later):
        node.get_logger().warning(sentence)


def _given(node: Node) -> dict[str, Parameter]:
    given: dict[str, Parameter] = getattr(node, "_parameter_overrides", {})
    return {name: value for name, value in given.items() if name.startswith(PREFIX)}


def _problem(name: str, value: Any) -> str | None:
    match = _NAME.fullmatch(name)
    if match is None or match["entity"] not in ("publisher", "subscription"):
        return (
            "is no such name; valid: qos_overrides.TOPIC.publisher.POLICY or "
            "qos_overrides.TOPIC.subscription.POLICY, with the topic's full name"
        )
    policy = match["policy"]
    if policy not in _POLICIES or (policy == "lifespan" and match["entity"] == "subscription"):
        return f"policy {policy!r} is unknown; valid: {', '.join(_POLICIES)}"
    if policy in _CHOICES:
        return _choice_problem(value, _CHOICES[policy])
    lowest = _NUMBERS[policy]
    if type(value) is not int or value < lowest:
        unit = "" if policy == "depth" else " of nanoseconds"
        return f"{value!r} is not a whole number{unit} from {lowest} up"
    return None


def _choice_problem(value: Any, kind: Iterable[Any]) -> str | None:
    valid = [member.name.lower() for member in kind if member.name != "UNKNOWN"]
    if isinstance(value, str) and value.lower() in valid:
        return None
    return f"{value!r} is unknown; valid: {', '.join(valid)}"
