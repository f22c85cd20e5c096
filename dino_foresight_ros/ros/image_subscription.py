"""The subscription to a camera's images, reliable where every publisher is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from dino_foresight_ros.ros.qos import image_input_qos
from dino_foresight_ros.ros.qos_mismatch import unheard_publishers
from dino_foresight_ros.ros.qos_overrides import is_overridden, overrides

CHECK_PERIOD_S = 0.2


class ImageInput:
    """Subscribes as sensor data and follows what the publishers offer.

    A best-effort subscription matches every publisher. But Fast DDS, the default middleware,
    shares half a megabyte of memory between processes, and an image is larger: its pieces
    overrun the segment, and a best-effort reader loses the frame (measured at 960x540: 60 of 75
    frames lost between two idle processes, none with a reliable reader). So with "auto" the
    subscription is reliable while all publishers of the topic are, and best effort otherwise.
    qos_overrides go before all of that.
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
        overridden = is_overridden(node, topic, "subscription", "reliability")
        self._reliability = "overridden" if overridden else reliability
        self._incompatible = False
        self._subscription: Any = None
        self._subscribe(reliable=reliability == "reliable")
        # Not the node's clock, which stands still while a recording is paused.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(CHECK_PERIOD_S, self._follow_publishers, clock=clock)

    @property
    def topic_name(self) -> str:
        """The topic's full name, remaps applied."""
        return str(self._subscription.topic_name)

    def unheard(self) -> list[str]:
        """One sentence for each publisher that cannot be heard, saying why and what to do."""
        qos = self._subscription.qos_profile
        return unheard_publishers(self._node, self.topic_name, self._kind, qos)

    def met_incompatible(self) -> bool:
        """Whether the middleware met a publisher of incompatible QoS since the last call."""
        met, self._incompatible = self._incompatible, False
        return met

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, reliable: bool) -> None:
        old, self._reliable = self._subscription, reliable
        policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        self._subscription = self._node.create_subscription(
            self._kind,
            self._topic,
            self._callback,
            image_input_qos(policy),
            # rclpy's own warning would also come where the next check subscribes otherwise.
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible),
            qos_overriding_options=overrides(self._node, self._topic, "subscription"),
        )
        if old is not None:
            self._node.destroy_subscription(old)

    def _on_incompatible(self, _event: Any) -> None:
        self._incompatible = True

    def _follow_publishers(self) -> None:
        if self._reliability != "auto":
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic_name)
        offered = [info.qos_profile.reliability for info in publishers]
        reliable = bool(offered) and all(o == ReliabilityPolicy.RELIABLE for o in offered)
        if reliable != self._reliable:
            self._subscribe(reliable)
