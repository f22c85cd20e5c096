"""Records forecasts and what they are about as it is on the wire, for ROS tools and Foxglove."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.outputs import DEPTH, OUTPUTS
from dino_foresight_ros.recordings.bag_writer import create_mcap
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.message_types import define, message_class
from dino_foresight_ros.topic_names import PLAN_TOPICS

_COMMON = ("/diagnostics", "/tf", "/tf_static")
# Of each step what can be looked at: colours, and depth, which the tools colour by themselves.
_OF_STEP = [t.name for o in OUTPUTS for t in o.topics if t.is_colored or t.output == DEPTH]
_IN_FOLDER = re.compile(
    rf"(forecast|labels|label_info|skill|{'|'.join(t.name for t in PLAN_TOPICS)}"
    rf"|step_\d+/({'|'.join(_OF_STEP)}|camera_info))"
)
_QUEUE_DEPTH = 20


class TopicRecorder:
    """Writes topics into one .mcap file, which is there when it is closed.

    Messages are not decoded: they cost a copy. Their log time is when they came by the node's
    clock. Under use_sim_time that is /clock; until it runs, the latest of each topic wait for it.
    """

    def __init__(self, node: Node, path: Path, force: bool = False) -> None:
        """Begin.

        Raises:
            InputError: the file exists, or cannot be written.
        """
        self._node, self.path = node, path
        self._closing = ExitStack()
        self._writer = self._closing.enter_context(create_mcap(path, force=force))
        self._topics: set[str] = set()
        self._waiting: dict[str, deque[Callable[[int], None]]] = {}
        self._failure: OSError | None = None
        self.message_count = 0

    def follow(self, sources: Iterable[ForecastSource]) -> None:
        """Record what is published about these cameras from now on, too."""
        folders = [source.folder for source in sources]
        named = {name for s in sources for name in (s.image, s.camera_info) if name}
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic in self._topics or len(kinds) != 1:
                continue
            inside = any(
                topic.startswith(f"{folder}/") and _IN_FOLDER.fullmatch(topic[len(folder) + 1 :])
                for folder in folders
            )
            if inside or topic in named or (folders and topic in _COMMON):
                self._record(topic, kinds[0])

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: it cannot be written, now or before; nothing is left of it.
        """
        if self._failure is None:
            with suppress(ForesightError):  # self._failure says it
                # If /clock never ran, by the time of the system.
                self._write_waiting(self._node.get_clock().now().nanoseconds or time.time_ns())
        if self._failure is not None:
            self._closing.__exit__(type(self._failure), self._failure, None)
        self._closing.close()

    def _record(self, topic: str, msgtype: str) -> None:
        publishers = self._node.get_publishers_info_by_topic(topic)
        kind = message_class(msgtype)
        if not publishers or kind is None or not define(msgtype):
            return
        offered = [info.qos_profile for info in publishers]
        reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
        latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
        qos = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_QUEUE_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
        )

        def write(data: bytes, log_time_ns: int) -> None:
            try:
                self._writer.write_serialized(topic, msgtype, log_time_ns, data, latched=latched)
            except OSError as error:
                self._failure = error
                raise ForesightError(f"{self.path} cannot be written: {error.strerror}") from error
            self.message_count += 1

        def on_message(data: bytes) -> None:
            now_ns = self._node.get_clock().now().nanoseconds
            if now_ns == 0:
                waiting = self._waiting.setdefault(topic, deque(maxlen=_QUEUE_DEPTH))
                waiting.append(partial(write, data))
                return
            self._write_waiting(now_ns)
            write(data, now_ns)

        self._node.create_subscription(kind, topic, on_message, qos, raw=True)
        self._topics.add(topic)

    def _write_waiting(self, log_time_ns: int) -> None:
        waiting, self._waiting = self._waiting, {}
        for writes in waiting.values():
            for write in writes:
                write(log_time_ns)
