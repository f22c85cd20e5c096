"""The subscription to a camera's images: reliable where every publisher is; whom it cannot hear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from dino_foresight_ros.recordings.video_messages import video_codec
from dino_foresight_ros.ros.message_types import message_class
from dino_foresight_ros.ros.qos import image_input_qos, is_overridden, overrides
from dino_foresight_ros.ros.timers import steady_timer

CHECK_PERIOD_S = 0.2
VIDEO_DEPTH = 100
"""Of a video every message is needed for those after it; of pictures the newest is enough."""
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


class ImageInput:
    """Subscribes as sensor data and follows what the publishers offer.

    A best-effort subscription matches every publisher. But Fast DDS, the default middleware,
    shares half a megabyte of memory between processes, and an image is larger: its pieces
    overrun the segment, and a best-effort reader loses the frame (measured at 960x540: 60 of 75
    frames lost between two idle processes, none with a reliable reader). So with "auto" the
    subscription is reliable while all publishers of the topic are, and best effort otherwise.
    qos_overrides go before all of that.

    Of video messages (H.264, ...) all are taken, not only the newest.

    Compressed images are looked for as image_transport names them too: where nobody publishes them
    on the topic but somebody does on TOPIC/compressed or TOPIC/ffmpeg, it subscribes there.
    Messages of other packages (`OTHER_TYPES`) become CompressedImage where these are installed.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        kind: type[Any],
        callback: Callable[[Any], None],
        reliability: str = "auto",
    ) -> None:
        """Subscribe; `reliability` is "auto", "best_effort" or "reliable"."""
        self._node, self._topic, self._kind, self._callback = node, topic, kind, callback
        self._published = kind
        self._adapt: Callable[[Any], Any] = _unchanged
        self._given, self._reliability = node.resolve_topic_name(topic), reliability
        self._incompatible = False
        self._depth = 1
        self._is_video = False
        self.subscription: Any = None
        self._subscribe(reliable=reliability == "reliable")
        self._timer = steady_timer(node, CHECK_PERIOD_S, self._follow_publishers)

    @property
    def topic_name(self) -> str:
        """The topic's full name, remaps applied."""
        return str(self.subscription.topic_name)

    def unheard(self) -> list[str]:
        """One sentence for each publisher that cannot be heard, saying why and what to do."""
        qos = self.subscription.qos_profile
        return unheard_publishers(self._node, self.topic_name, self._published, qos)

    def met_incompatible(self) -> bool:
        """Whether the middleware met a publisher of incompatible QoS since the last call."""
        met, self._incompatible = self._incompatible, False
        return met

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self.subscription)

    def _subscribe(self, reliable: bool) -> None:
        old, self._reliable = self.subscription, reliable
        self._follows_reliability = self._reliability == "auto" and not is_overridden(
            self._node, self._topic, "subscription", "reliability"
        )
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self.subscription = self._node.create_subscription(
            self._published,
            self._topic,
            self._receive,
            image_input_qos(policy, self._depth),
            # rclpy's own warning would also come where the next check subscribes otherwise.
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
            qos_overriding_options=overrides(self._node, self._topic, "subscription"),
        )
        if old is not None:
            self._node.destroy_subscription(old)

    def _receive(self, message: Any) -> None:
        message = self._adapt(message)
        self._is_video = hasattr(message, "format") and bool(video_codec(message.format))
        self._callback(message)

    def _on_incompatible(self, _event: Any) -> None:
        self._incompatible = True

    def _follow_publishers(self) -> None:
        topic, published = self._find_compressed() if self._kind is CompressedImage else self._here
        if (topic, published) != self._here:
            self._node.get_logger().info(
                f"listening on {topic}, where {published.__name__} is published"
            )
            self._topic, self._published = topic, published
            self._adapt = OTHER_TYPES.get(type_name(published), _unchanged)
            self._subscribe(reliable=self._reliability == "reliable")
        if self._is_video and self._depth == 1:
            self._depth = VIDEO_DEPTH
            self._subscribe(self._reliable)
        if not self._follows_reliability:
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic_name)
        offered = [info.qos_profile.reliability for info in publishers]
        reliable = bool(offered) and all(o == ReliabilityPolicy.RELIABLE for o in offered)
        if reliable != self._reliable:
            self._subscribe(reliable)

    @property
    def _here(self) -> tuple[str, type[Any]]:
        """What is subscribed to."""
        return self.topic_name, self._published

    def _find_compressed(self) -> tuple[str, type[Any]]:
        """Topic and message class where compressed images are published; the topic itself first."""
        for name in (self._given, f"{self._given}/compressed", f"{self._given}/ffmpeg"):
            offers = self._node.get_publishers_info_by_topic(name)
            published = {offer.topic_type for offer in offers}
            for known in (type_name(self._kind), *OTHER_TYPES):
                kind = message_class(known) if known in published else None
                if kind is not None:
                    return name, kind
        return self._here


def _unchanged(message: Any) -> Any:
    return message


def _of_foxglove(message: Any) -> CompressedImage:
    header = Header(stamp=message.timestamp, frame_id=message.frame_id)
    return CompressedImage(header=header, format=message.format, data=message.data)


def _of_packet(message: Any) -> CompressedImage:
    return CompressedImage(header=message.header, format=message.encoding, data=message.data)


OTHER_TYPES: dict[str, Callable[[Any], CompressedImage]] = {
    "foxglove_msgs/msg/CompressedVideo": _of_foxglove,
    "foxglove_msgs/msg/CompressedImage": _of_foxglove,
    "ffmpeg_image_transport_msgs/msg/FFMPEGPacket": _of_packet,
}
"""Messages of other packages that hold compressed images or video, and how they become ours."""


def image_topic_text(topic: str, types: Sequence[str]) -> str:
    """The topic's name, and what its images take where that is more; empty where it has none."""
    if not set(_TRANSPORT_OF).isdisjoint(types):
        return topic
    other = next((name for name in OTHER_TYPES if name in types), None)
    if other is None:
        return ""
    needs = [] if message_class(other) is not None else [f"install {other.split('/')[0]}"]
    return f"{topic} ({other}; {', '.join([*needs, 'image_transport:=compressed'])})"


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
    if published in OTHER_TYPES:
        package = published.split("/")[0]
        advice = f"install {package} here and set image_transport to compressed, or republish it"
    elif transport is not None:
        advice = f"set image_transport to {transport} and configure again"
    else:
        advice = "remap the input to another topic"
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
