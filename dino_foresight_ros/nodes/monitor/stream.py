"""One camera of the monitor node: the forecasts that come in, and what goes out about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from dino_foresight_ros.compare import Comparison, SkillMonitor
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import FeatureMap, Forecast, ForecastSkill
from dino_foresight_ros.nodes.monitor.assembly import Assembly, Part
from dino_foresight_ros.nodes.monitor.messages import (
    arrived_header,
    build_skill,
    read_forecast,
)
from dino_foresight_ros.outputs import BY_NAME, DEPTH, FEATURES, MAX_STEPS, SEGMENTATION
from dino_foresight_ros.render.colors import colorize_surprise
from dino_foresight_ros.render.text import with_untrained_banner
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.messages import read_features, read_image
from dino_foresight_ros.ros.qos import advertise, output_qos, subscribe
from dino_foresight_ros.ros.stream_watch import StreamWatch
from dino_foresight_ros.ros.time import stamp_problem, time_to_ns
from dino_foresight_ros.topic_names import (
    SKILL,
    SURPRISE,
    SURPRISE_DRAWN,
    CameraTopics,
    MadeTopic,
)

MB = 1024 * 1024
LOG_PERIOD_S = 10.0
# Topic of step 0 -> which output it is.
_SEEN_TOPICS = {
    topic.name: output
    for output in (SEGMENTATION, DEPTH)
    for topic in BY_NAME[output].topics
    if not topic.is_colored
}


class MonitorStream:
    """Subscriptions, publishers and running skill of one camera."""

    def __init__(self, node: Node, names: CameraTopics, parameters: Mapping[str, Any]) -> None:
        """Subscribe to everything that describes frames and forecasts, and advertise."""
        self.names = names
        self.skill = SkillMonitor(parameters["window"], parameters["tolerance"], MB)
        self.assembly: Assembly[Forecast] = Assembly()
        self.broken = 0
        self.watch = StreamWatch(parameters["stream_timeout_s"], time.monotonic())
        self.compared_s = time.monotonic()
        self._node = node
        self._surprise_step = 1
        self._listen(Forecast, "forecast", self._on_forecast)
        # All steps of a forecast come at once.
        self._features = self._listen(FeatureMap, "features", self._on_features, 2 * MAX_STEPS + 2)
        self._maps = {
            topic: self._listen(Image, f"step_0/{topic}", self._map_reader(name))
            for topic, name in _SEEN_TOPICS.items()
        }
        self._skills = self._advertise(ForecastSkill, SKILL, output_qos(MAX_STEPS))
        self._surprise = self._advertise(Image, SURPRISE)
        self._surprise_color = self._advertise(Image, SURPRISE_DRAWN)
        self.change(parameters)

    def change(self, parameters: Mapping[str, Any]) -> None:
        """Work by these parameters from now on."""
        self.skill.window = parameters["window"]
        self.skill.matcher.tolerance = parameters["tolerance"]
        self.skill.matcher.max_bytes = parameters["memory_mb"] * MB
        self.watch.timeout_s = parameters["stream_timeout_s"]
        self._surprise_step = parameters["surprise_step"]

    @property
    def topic_name(self) -> str:
        """Full name of the forecast topic, remaps applied."""
        return self._node.resolve_topic_name(f"{self.names.outputs}/forecast")

    @property
    def skill_topic(self) -> str:
        """Full name of the topic of its own that always exists."""
        return str(self._skills.topic_name)

    @property
    def has_features(self) -> bool:
        """Whether somebody publishes features."""
        return self._is_published(self._features)

    def _listen(
        self, kind: type, topic: str, callback: Callable[[Any], None], depth: int = 10
    ) -> Any:
        name = f"{self.names.outputs}/{topic}"

        def receive(message: Any) -> None:
            try:
                callback(message)
            except (InputError, ValueError) as error:
                self._refuse(name, error)

        return subscribe(self._node, kind, name, receive, output_qos(depth))

    def _refuse(self, name: str, error: Exception) -> None:
        self.broken += 1
        text = " ".join(str(error).split())
        self._node.get_logger().error(
            f"a message on {name} is not used: {text}", throttle_duration_sec=LOG_PERIOD_S
        )

    def _advertise(self, kind: type, topic: MadeTopic, qos: QoSProfile | None = None) -> Any:
        name = f"{self.names.outputs}/{topic.name}"
        return advertise(self._node, kind, name, qos or output_qos())

    def _is_published(self, subscription: Any) -> bool:
        return self._node.count_publishers(subscription.topic_name) > 0

    def _on_forecast(self, message: Forecast) -> None:
        stamp_ns, now_s = _stamp_of(message), time.monotonic()
        if self.watch.is_silent:
            self.compared_s = now_s
            self._node.get_logger().info(f"forecasts come on {self.topic_name}")
        self.watch.frame(now_s)
        self._take(self.assembly.put_head(stamp_ns, message, self._expected(message)))

    def _expected(self, message: Forecast) -> frozenset[Part]:
        """What else comes about this frame, as far as can be told."""
        expected = set()
        if self.has_features:
            expected = {Part(FEATURES, k) for k in (0, *(step.step for step in message.steps))}
        for topic, name in _SEEN_TOPICS.items():
            has_map = any(getattr(step, name).width for step in message.steps)
            if has_map and self._is_published(self._maps[topic]):
                expected.add(Part(name))
        return frozenset(expected)

    def _on_features(self, message: FeatureMap) -> None:
        if message.step > MAX_STEPS:
            raise InputError(f"features are of step {message.step}; there are {MAX_STEPS} at most")
        part = Part(FEATURES, message.step)
        self._take(self.assembly.put_part(_stamp_of(message), part, read_features(message)))

    def _map_reader(self, name: str) -> Callable[[Image], None]:
        def read(message: Image) -> None:
            values = read_image(message, BY_NAME[name])
            self._take(self.assembly.put_part(_stamp_of(message), Part(name), values))

        return read

    def _take(self, done: list[tuple[Forecast, Mapping[Part, Any]]]) -> None:
        for message, parts in done:
            try:
                frame, predictions = read_forecast(message, parts)
            except (InputError, ValueError) as error:
                self._refuse(f"{self.names.outputs}/forecast", error)
                continue
            for comparison in self.skill.take(frame, predictions):
                self.compared_s = time.monotonic()
                self._publish(comparison)

    def _publish(self, comparison: Comparison) -> None:
        self._skills.publish(build_skill(comparison))
        if comparison.predicted.step != self._surprise_step:
            return
        publishers = self._surprise, self._surprise_color
        if not any(publisher.get_subscription_count() for publisher in publishers):
            return
        values = comparison.surprise()
        if values is None:
            return
        header = arrived_header(comparison)
        self._surprise.publish(image_to_msg(values, "32FC1", header))
        if self._surprise_color.get_subscription_count():
            colors = colorize_surprise(values)
            if not comparison.origin.trained:
                colors = with_untrained_banner(colors)
            self._surprise_color.publish(image_to_msg(colors, "rgb8", header))


def _stamp_of(message: Any) -> int:
    """Nanoseconds of a message's stamp.

    Raises:
        InputError: no stamp that a frame can have.
    """
    stamp = message.header.stamp
    if stamp_problem(stamp) is not None:
        raise InputError(f"its stamp is {stamp.sec} s and {stamp.nanosec} ns, which no frame has")
    return time_to_ns(stamp)
