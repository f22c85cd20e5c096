"""The demo's own ROS node: it watches the topics as any user's node would."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from dino_foresight_ros.demo.moments import MomentTracker
from dino_foresight_ros.msg import Forecast as ForecastMsg
from dino_foresight_ros.msg import Labels
from dino_foresight_ros.render.palette import ClassPalette
from dino_foresight_ros.render.views import Moment, StepView
from dino_foresight_ros.ros.forecast_views import read_palette, read_step
from dino_foresight_ros.ros.images import msg_to_rgb
from dino_foresight_ros.ros.qos import latched_qos, output_qos
from dino_foresight_ros.ros.stamps import time_to_ns

_QUEUE_DEPTH = 20
_STATUS_NAME = "forecast_node: forecast"


@dataclass
class Seen:
    """What the client has seen so far.

    Attributes:
        frames, forecasts: how many came.
        latencies_ms: of every forecast, as the node measured it.
        first_frame_s, last_frame_s, first_forecast_s, last_forecast_s: when the first and the
            newest of each came, seconds of `time.monotonic`.
        first_stamp_ns: stamp of the first frame.
        image_size: (height, width) of the newest frame.
        forecast_size: (height, width) of the predicted images.
        model, trained, frame_interval_s, steps: as the newest forecast says.
        diagnostics: the forecast node's newest values, and when they came.
        failure: why messages could not be read, None while they can.
    """

    frames: int = 0
    forecasts: int = 0
    latencies_ms: array.array[float] = field(default_factory=lambda: array.array("d"))
    first_frame_s: float | None = None
    last_frame_s: float | None = None
    first_forecast_s: float | None = None
    last_forecast_s: float | None = None
    first_stamp_ns: int | None = None
    image_size: tuple[int, int] | None = None
    forecast_size: tuple[int, int] | None = None
    model: str = ""
    trained: bool = False
    frame_interval_s: float = 0.0
    steps: int = 0
    diagnostics: dict[str, str] = field(default_factory=dict)
    diagnostics_s: float | None = None
    failure: str | None = None


class DemoClient:
    """Subscribes to everything the demo shows, in a ROS context of its own.

    Messages are handled in one background thread, which alone writes `seen`.
    """

    def __init__(
        self, domain_id: int, on_moment: Callable[[Moment], None], spacing_s: float
    ) -> None:
        """Join the domain.

        Args:
            domain_id: the ROS domain.
            on_moment: called in the background thread for each moment.
            spacing_s: least time between two moments, in the input's time.
        """
        self.seen = Seen()
        self.labels: Labels | None = None
        self._tracker = MomentTracker(on_moment, spacing_s)
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
        subscribe = self._node.create_subscription
        subscribe(Labels, "foresight/labels", self._on_labels, latched_qos())
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, output_qos())
        subscribe(ForecastMsg, "foresight/forecast", self._on_forecast, output_qos(_QUEUE_DEPTH))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="foresight-demo-client")
        self._thread.start()

    @property
    def palette(self) -> ClassPalette | None:
        """Names and colours of the classes, None without a segmentation head."""
        return read_palette(self.labels)

    @property
    def depth_is_metric(self) -> bool:
        """Whether depth is metres."""
        return self.labels is not None and bool(self.labels.depth_is_metric)

    def close(self) -> None:
        """Stop listening, and hand out the moments that are still pending."""
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(timeout=2.0)
        self._tracker.flush()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def __enter__(self) -> DemoClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception as error:  # noqa: BLE001 - told by the main thread
            self.seen.failure = f"{type(error).__name__}: {' '.join(str(error).split())}"

    def _on_labels(self, message: Labels) -> None:
        if self.labels is None:
            # Not before the forecast node listens: the first subscriber starts the player.
            self._node.create_subscription(Image, "image", self._on_image, output_qos(_QUEUE_DEPTH))
        self.labels = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == _STATUS_NAME:
                self.seen.diagnostics = {pair.key: pair.value for pair in status.values}
                self.seen.diagnostics_s = time.monotonic()

    def _on_image(self, message: Image) -> None:
        seen, now_s = self.seen, time.monotonic()
        stamp_ns = time_to_ns(message.header.stamp)
        if seen.first_frame_s is None:
            seen.first_frame_s, seen.first_stamp_ns = now_s, stamp_ns
        seen.last_frame_s = now_s
        seen.image_size = (message.height, message.width)
        seen.frames += 1
        self._tracker.add_frame(stamp_ns, msg_to_rgb(message))

    def _on_forecast(self, message: ForecastMsg) -> None:
        seen, now_s = self.seen, time.monotonic()
        if seen.first_forecast_s is None:
            seen.first_forecast_s = now_s
        seen.last_forecast_s = now_s
        seen.forecasts += 1
        latency_ms = message.latency * 1000.0
        seen.latencies_ms.append(latency_ms)
        seen.model, seen.trained = message.model_name, message.trained
        seen.frame_interval_s, seen.steps = message.frame_interval, len(message.steps)
        stamp_ns = time_to_ns(message.header.stamp)
        if not self._tracker.wants(stamp_ns):
            return
        steps = [read_step(step) for step in message.steps]
        seen.forecast_size = next((size for size in map(_size, steps) if size), None)
        self._tracker.add_forecast(stamp_ns, steps, message.frame_interval, latency_ms)


def _size(view: StepView) -> tuple[int, int] | None:
    for values in (view.segmentation, view.depth):
        if values is not None:
            return values.shape[0], values.shape[1]
    return None
