"""Quality of service of each kind of topic.

Reliable outputs match every subscriber and a best-effort image input matches every publisher;
depth 1 on the input because a frame that was overtaken is worth nothing.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def image_input_qos(
    reliability: ReliabilityPolicy = ReliabilityPolicy.BEST_EFFORT,
) -> QoSProfile:
    """Sensor data: best effort unless told otherwise, keep last, volatile."""
    return _keep_last(1, reliability)


def camera_info_input_qos() -> QoSProfile:
    """Camera info comes with every image; the newest is enough."""
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
