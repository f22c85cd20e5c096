"""Why a subscription hears nothing although somebody publishes its topic."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

_TRANSPORT_OF = {
    "sensor_msgs/msg/Image": "raw",
    "sensor_msgs/msg/CompressedImage": "compressed",
}
# A word of rclpy's reason -> the policy, what is offered and asked for, what to do.
_POLICIES = {
    "best effort": "reliability",
    "reliable": "reliability",
    "transient local": "durability",
    "deadline": "deadline",
    "lease": "liveliness_lease_duration",
    "liveliness": "liveliness",
}


def unheard_publishers(node: Node, topic: str, kind: type[Any], qos: QoSProfile) -> list[str]:
    """One sentence for each publisher of a topic that a subscription cannot hear.

    Args:
        node: the node that subscribes.
        topic: the topic's full name.
        kind: the message class subscribed to.
        qos: of the subscription, overrides applied.

    Returns:
        What does not fit (type or policy), who publishes, and what to do; sorted.
    """
    expected = type_name(kind)
    sentences = set()
    for info in node.get_publishers_info_by_topic(topic):
        name = _full_name(info.node_namespace, info.node_name)
        if info.topic_type != expected:
            sentences.add(_type_sentence(topic, name, info.topic_type, expected))
            continue
        compatible, reason = qos_check_compatible(info.qos_profile, qos)
        if compatible == QoSCompatibility.ERROR:
            for policy in _policies(reason):
                sentences.add(_policy_sentence(topic, name, policy, info.qos_profile, qos))
    return sorted(sentences)


def type_name(kind: type[Any]) -> str:
    """A message class's name in ROS, such as sensor_msgs/msg/Image."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _full_name(namespace: str, name: str) -> str:
    if not name or name.startswith("_NODE_NAME_UNKNOWN"):
        return "a node of unknown name"
    return f"{namespace.rstrip('/')}/{name}"


def _type_sentence(topic: str, node: str, published: str, expected: str) -> str:
    transport = _TRANSPORT_OF.get(published)
    advice = (
        f"set image_transport to {transport} and configure again"
        if transport is not None
        else "remap the input to another topic"
    )
    return f"{topic} carries {published} ({node} publishes it), not {expected}: {advice}"


def _policies(reason: str) -> list[str]:
    """The policies that rclpy's reason names."""
    found = []
    for part in reason.lower().split("error:"):
        policy = next((policy for word, policy in _POLICIES.items() if word in part), None)
        if policy is not None and policy not in found:
            found.append(policy)
    return found or ["QoS"]


def _policy_sentence(
    topic: str, node: str, policy: str, offered: QoSProfile, asked: QoSProfile
) -> str:
    text = f"{node} publishes {topic} with an incompatible QoS: {policy}"
    if policy != "QoS":
        text += f" is {_value(offered, policy)} there, {_value(asked, policy)} is asked for here"
    if policy == "reliability":
        advice = "set image_reliability to auto or best_effort, or have it publish reliably"
    else:
        advice = f"change what it offers, or qos_overrides.{topic}.subscription.{policy} here"
    return f"{text}; no message will come from it: {advice}"


def _value(qos: QoSProfile, policy: str) -> str:
    value = getattr(qos, policy)
    if hasattr(value, "nanoseconds"):
        # "For ever" is the largest number that the middleware can write, in its own units.
        seconds = value.nanoseconds / 1e9
        return "none" if seconds <= 0 or seconds > 1e9 else f"{seconds:g} s"
    return str(value.name).lower()
