"""The demo's own ROS node, which watches the topics as any user's node would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.closeable import Closeable
from dino_foresight_ros.demo.run_statistics import CameraStatistics, RunStatistics
from dino_foresight_ros.demo.tracker import KEPT_WIDTH, ForecastTracker
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import FeatureMap, Labels
from dino_foresight_ros.msg import Forecast as ForecastMsg
from dino_foresight_ros.outputs import BY_NAME, DEPTH, SEGMENTATION
from dino_foresight_ros.recordings.image_decoding import ImageDecoder
from dino_foresight_ros.render.colors import ClassPalette
from dino_foresight_ros.ros.camera_feed import read_palette
from dino_foresight_ros.ros.camera_info import CameraInfoInput, focal_by
from dino_foresight_ros.ros.messages import (
    read_features,
    read_image,
    read_step,
)
from dino_foresight_ros.ros.qos import latched_qos, output_qos
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.scene import ComparedForecast, Scene
from dino_foresight_ros.topic_names import CameraTopics

_QUEUE_DEPTH = 20
_STATUS_NAME = "forecast_node: forecast"
# With several cameras each keeps fewer frames: half a second at the least of any camera.
_KEPT_FRAMES, _KEPT_OF_SEVERAL = 96, 48
# Features of a larger patch grid would burden the transport that is being watched.
_MOST_PATCHES = 1024
# Predicted images are the patch grid times this, see `output_size` of the forecast node.
_GRID_SCALE = 8
# True labels are kept at about the size of the pictures they are compared with.
_TRUTH_WIDTH = 320

OnCompared = Callable[[str, ComparedForecast], None]


class CameraWatch:
    """Watches one camera and the forecasts of it. All is called in the client's thread."""

    def __init__(
        self,
        node: Node,
        topics: CameraTopics,
        statistics: RunStatistics,
        tracker: ForecastTracker,
        compressed: bool,
        with_truth: bool,
    ) -> None:
        self.labels: Labels | None = None
        self._node, self._topics, self._all = node, topics, statistics
        self._statistics: CameraStatistics = statistics.cameras[topics.camera]
        self.tracker = tracker
        self._compressed, self._with_truth = compressed, with_truth
        self._features: Any = None
        self._decoder = ImageDecoder()
        folder = topics.outputs
        node.create_subscription(Labels, f"{folder}/labels", self._on_labels, latched_qos())
        node.create_subscription(
            ForecastMsg, f"{folder}/forecast", self._on_forecast, output_qos(_QUEUE_DEPTH)
        )

    def listen(self) -> None:
        """Subscribe to the camera itself, which starts the player."""
        subscribe, qos = self._node.create_subscription, output_qos(_QUEUE_DEPTH)
        for name in self._truths():
            subscribe(Image, f"ground_truth/{name}", self._taking_truth(name), qos)
        kind_of_image = CompressedImage if self._compressed else Image
        subscribe(kind_of_image, self._topics.image, self._on_image, qos)
        CameraInfoInput(self._node, self._topics.camera_info, self._on_camera_info)

    def _on_camera_info(self, message: CameraInfo) -> None:
        with suppress(InputError):  # as if none had come, which forecast_node tells of
            topic = self._node.resolve_topic_name(self._topics.image)
            self._statistics.focal = focal_by(message, topic, self._statistics.image_size)

    def _truths(self) -> list[str]:
        """Names of the true maps that mean what the model's do."""
        if not self._with_truth or self.labels is None:
            return []
        found: list[str] = []
        if tuple(self.labels.names) == tuple(info.name for info in WORLD_CLASSES):
            found.append(SEGMENTATION)
        if self.labels.depth_is_metric:
            found.append(DEPTH)
        return found

    def _on_labels(self, message: Labels) -> None:
        self.labels = message

    def _taking_truth(self, name: str) -> Callable[[Image], None]:
        def take(message: Image) -> None:
            values = read_image(message, BY_NAME[name])
            if values is not None:
                stride = max(1, message.width // _TRUTH_WIDTH)
                small = np.ascontiguousarray(values[::stride, ::stride])
                self.tracker.add_truth(time_to_ns(message.header.stamp), **{name: small})

        return take

    def _on_image(self, message: Image | CompressedImage) -> None:
        stamp_ns = time_to_ns(message.header.stamp)
        self._statistics.add_frame(time.monotonic(), stamp_ns)
        decode = self._decoder.take(message)
        # A raw message is larger than the picture that is kept of it.
        at_once = isinstance(message, Image)
        self.tracker.add_frame(stamp_ns, lambda: self._decode(decode), at_once)

    def _decode(self, decode: Callable[[], Any]) -> Any:
        picture = decode()
        self._statistics.image_size = (picture.shape[0], picture.shape[1])
        return picture

    def _on_features(self, message: FeatureMap) -> None:
        if message.step:
            features = read_features(message).astype(np.float16)
            self.tracker.add_features(time_to_ns(message.header.stamp), message.step, features)

    def _on_forecast(self, message: ForecastMsg) -> None:
        latency_ms = message.latency * 1000.0
        self._statistics.add_forecast(time.monotonic(), latency_ms)
        told = self._all
        told.model, told.trained = message.model_name, message.trained
        told.frame_interval_s, told.steps = message.frame_interval, len(message.steps)
        stamp_ns = time_to_ns(message.header.stamp)
        if not self.tracker.wants(stamp_ns):
            return
        steps = [read_step(step) for step in message.steps]
        size = next((size for size in map(_size, steps) if size), None)
        if size is not None and self._statistics.forecast_size is None:
            self._statistics.forecast_size = size
            self._fit_to(size)
        self.tracker.add_forecast(stamp_ns, steps, message.frame_interval, latency_ms)

    def _fit_to(self, size: tuple[int, int]) -> None:
        """Now the model's size is known: keep frames as large, and listen to small features."""
        # No patch is larger than 16 pixels, two for each pixel of a predicted image.
        self.tracker.most_width = max(KEPT_WIDTH, 2 * size[1])
        if size[0] * size[1] <= _MOST_PATCHES * _GRID_SCALE**2:
            self._features = self._node.create_subscription(
                FeatureMap,
                f"{self._topics.outputs}/features",
                self._on_features,
                output_qos(_QUEUE_DEPTH),
            )


class DemoClient(Closeable):
    """Subscribes to everything the demo shows, in a ROS context of its own.

    Messages are handled in one background thread, which alone writes `statistics`.
    """

    def __init__(
        self,
        domain_id: int,
        cameras: Sequence[CameraTopics],
        on_compared: OnCompared,
        spacing_s: float,
        compressed: bool = False,
        with_truth: bool = False,
    ) -> None:
        """Join the domain.

        Args:
            domain_id: the ROS domain.
            cameras: the topics of each; the only one may be unnamed.
            on_compared: called in the background thread with a camera's name and its forecast.
            spacing_s: least time between two forecasts of a camera, in the input's time.
            compressed: whether images are CompressedImage.
            with_truth: whether the synthetic world plays, which publishes ground_truth/*.
        """
        self.statistics = RunStatistics([topics.camera for topics in cameras])
        self._is_listening = False
        self._context = rclpy.Context()
        # Ctrl-C is the demo's business.
        rclpy.init(
            args=[],
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = rclpy.create_node(
            "foresight_demo", context=self._context, use_global_arguments=False
        )
        kept = _KEPT_FRAMES if len(cameras) == 1 else _KEPT_OF_SEVERAL

        def tracker(camera: str) -> ForecastTracker:
            return ForecastTracker(lambda forecast: on_compared(camera, forecast), spacing_s, kept)

        self._watches = [
            CameraWatch(
                self._node, topics, self.statistics, tracker(topics.camera), compressed, with_truth
            )
            for topics in cameras
        ]
        self._node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, output_qos()
        )
        # Not before the forecast node listens: the first subscriber starts the player.
        self._node.create_timer(0.05, self._listen_when_ready)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="foresight-demo-client")
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether the forecast node is active, which latched labels of every camera tell."""
        return all(watch.labels is not None for watch in self._watches)

    @property
    def palette(self) -> ClassPalette | None:
        """Names and colours of the classes, None without a segmentation head."""
        return read_palette(self._watches[0].labels)

    @property
    def depth_is_metric(self) -> bool:
        """Whether depth is metres."""
        labels = self._watches[0].labels
        return labels is not None and bool(labels.depth_is_metric)

    def close(self) -> None:
        """Stop listening, and hand out the forecasts that are still pending."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(timeout=2.0)
        for watch in self._watches:
            watch.tracker.flush()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.statistics.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"

    def _listen_when_ready(self) -> None:
        if self.is_ready and not self._is_listening:
            self._is_listening = True
            for watch in self._watches:
                watch.listen()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == _STATUS_NAME:
                self.statistics.diagnostics = {pair.key: pair.value for pair in status.values}
                self.statistics.diagnostics_s = time.monotonic()


def _size(view: Scene) -> tuple[int, int] | None:
    for values in (view.segmentation, view.depth, view.normals):
        if values is not None:
            return values.shape[0], values.shape[1]
    return None
