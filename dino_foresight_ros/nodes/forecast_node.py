"""forecast_node: a camera stream in, forecasts of what it will show out.

A managed node. Configuring loads the bundle, activating subscribes; with `autostart` both happen
at start, and a failure then ends the process with exit code 1, since nobody manages the node.
Without it, a failed configure leaves the node unconfigured, and it may be tried again.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.ros.camera_info import fits
from dino_foresight_ros.ros.forecast_diagnostics import ForecastDiagnostics
from dino_foresight_ros.ros.forecast_parameters import FORECAST_PARAMETERS
from dino_foresight_ros.ros.forecast_topics import ForecastTopics
from dino_foresight_ros.ros.image_input import ImageInput
from dino_foresight_ros.ros.images import msg_to_rgb
from dino_foresight_ros.ros.lifecycle import tolerate_bad_transitions
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import camera_info_input_qos
from dino_foresight_ros.ros.run import run_node
from dino_foresight_ros.ros.stamps import time_to_ns
from dino_foresight_ros.ros.stream_watch import StreamChange, StreamWatch
from dino_foresight_ros.threads import share_cores

if TYPE_CHECKING:
    from dino_foresight_ros.nodes.forecast_engine import LoadedEngine
    from dino_foresight_ros.runtime.forecast import Forecast
    from dino_foresight_ros.runtime.mailbox import Frame
    from dino_foresight_ros.runtime.statistics import FrameCounter
    from dino_foresight_ros.runtime.worker import ForecastWorker

NODE_NAME = "forecast_node"
CHECK_PERIOD_S = 1.0
LOG_PERIOD_S = 10.0
STOP_TIMEOUT_S = 1.5

# What a dropped frame is worth saying, once for each reason.
_DROP_WARNINGS = {
    "duplicate_stamp": "a frame came twice (same time stamp); such frames are dropped",
    "out_of_order": "a frame came after a newer one; such frames are dropped",
    "no_stamp": "images carry no time stamp (0); such frames are dropped: set header.stamp",
}


class ForecastNode(LifecycleNode):
    """Subscribes to images and publishes forecasts; see the module for its life."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self.parameters = Parameters(self, FORECAST_PARAMETERS, lambda: self._worker is None)
        self._counter: FrameCounter | None = None
        self._loaded: LoadedEngine | None = None
        self._worker: ForecastWorker | None = None
        self._topics: ForecastTopics | None = None
        self._images: ImageInput | None = None
        self._calibration: Any = None
        self._camera_info: CameraInfo | None = None
        self._image_size: tuple[int, int] | None = None
        self._watch: StreamWatch | None = None
        self._said: set[str] = set()
        self._diagnostics = ForecastDiagnostics(self)
        tolerate_bad_transitions(self)
        self.create_timer(CHECK_PERIOD_S, self._check)

    def autostart(self) -> None:
        """Configure and activate.

        Raises:
            SystemExit: that failed; the reason is logged.
        """
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise SystemExit(1)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle and build the publishers."""
        parameters = self.parameters.as_dict()
        try:
            # Imported here: torch takes seconds, which a signal or a bad parameter must not wait
            # for.
            from dino_foresight_ros.nodes.forecast_engine import load_engine

            self._loaded = load_engine(parameters)
        except Exception as error:  # noqa: BLE001 - whatever it is, the node stays manageable
            self.get_logger().error(f"cannot configure: {_describe(error)}")
            self._release()
            return TransitionCallbackReturn.FAILURE
        model, loaded = self._loaded.model, self._loaded
        self._topics = ForecastTopics(
            self, model, parameters["steps"], parameters["publish_features"]
        )
        self._worker = self._build_worker(loaded, self._topics)
        self._diagnostics.configured(loaded, self._worker)
        self.get_logger().info(
            f"configured: {model.name} on {loaded.device} ({loaded.dtype}), "
            f"{parameters['steps']} steps of {loaded.engine.bundle.frame_interval_s:g} s, "
            f"outputs {', '.join(sorted(model.outputs)) or 'none'}"
        )
        if not loaded.trained:
            self.get_logger().warning(
                f"{model.name} is untrained: its weights are random, its forecasts mean nothing"
            )
        return super().on_configure(state)

    def _build_worker(self, loaded: LoadedEngine, topics: ForecastTopics) -> ForecastWorker:
        from dino_foresight_ros.runtime.worker import ForecastWorker, Hooks

        hooks = Hooks(self._decode, topics.wanted, self._publish, self._on_drop, self._on_error)
        worker = ForecastWorker(loaded.engine, hooks, self._counter)
        self._counter = worker.counter  # frames are counted over the node's whole life
        return worker

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self._worker is not None
        assert self._topics is not None
        result = super().on_activate(state)
        self._topics.publish_labels("")
        self._worker.start()
        self._camera_info = None
        self._watch = StreamWatch(self.parameters["stream_timeout_s"], time.monotonic())
        kind = Image if self.parameters["image_transport"] == "raw" else CompressedImage
        self._images = ImageInput(
            self, "image", kind, self._on_image, self.parameters["image_reliability"]
        )
        self._calibration = self.create_subscription(
            CameraInfo, "camera_info", self._on_camera_info, camera_info_input_qos()
        )
        topic = self._images.topic_name
        self.get_logger().info(f"active: listening on {topic} ({kind.__name__})")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker."""
        self._stop()
        self.get_logger().info("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the model and its memory back."""
        self._release()
        self.get_logger().info("cleaned up")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition broke: back to unconfigured."""
        self._stop()
        self._release()
        self.get_logger().error("a transition failed; the node is unconfigured")
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the work and take the node down."""
        self._stop()
        super().destroy_node()

    def _stop(self) -> None:
        if self._images is not None:
            self._images.close()
            self.destroy_subscription(self._calibration)
            self._images = None
        self._watch = None
        if self._worker is not None and not self._worker.stop(STOP_TIMEOUT_S):
            self.get_logger().warning("a forward pass still runs; its result will be dropped")

    def _release(self) -> None:
        if self._topics is not None:
            self._topics.destroy()
        self._topics = self._worker = self._loaded = None
        self._diagnostics.released()
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    # Messages in: the executor's thread

    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._worker is None or self._watch is None:
            return
        if self._watch.frame(time.monotonic()) is StreamChange.RESUMED:
            self.get_logger().info("the image stream resumed")
        stamp_ns = time_to_ns(message.header.stamp)
        if stamp_ns == 0:
            self._worker.refuse(message, stamp_ns, "no_stamp")
        else:
            self._worker.submit(message, stamp_ns)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _check(self) -> None:
        """Once a second: look after the stream and publish diagnostics."""
        watch = self._watch
        if watch is not None and self._images is not None:
            watch.timeout_s = self.parameters["stream_timeout_s"]
            change = watch.check(time.monotonic())
            if change is not None:
                topic = self._images.topic_name
                verb = "came yet" if change is StreamChange.NEVER_STARTED else "came"
                hint = self._stream_hint(change)
                self.get_logger().warning(
                    f"no image {verb} on {topic} for {watch.timeout_s:g} s; {hint}"
                )
        self._diagnostics.publish(watch)

    def _stream_hint(self, change: StreamChange) -> str:
        if change is StreamChange.STOPPED:
            return "waiting for it to resume"
        kinds = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}
        own = self.resolve_topic_name("foresight") + "/"
        topics = sorted(
            name
            for name, types in self.get_topic_names_and_types()
            if kinds & set(types) and not name.startswith(own) and self.count_publishers(name)
        )
        return f"image topics with a publisher: {', '.join(topics) or 'none'}"

    # Work: the worker's thread

    def _decode(self, message: Image | CompressedImage) -> np.ndarray:
        image = msg_to_rgb(message)
        self._image_size = size = (image.shape[0], image.shape[1])
        assert self._loaded is not None
        model_size = self._loaded.image_size
        if size != model_size:
            self._warn_once(
                "resize",
                f"images are {size[1]}x{size[0]}; each is resized to the model's "
                f"{model_size[1]}x{model_size[0]}",
            )
        return image

    def _publish(self, forecast: Forecast, frame: Frame) -> None:
        topics = self._topics
        if topics is None:
            return
        frame_id = frame.payload.header.frame_id
        topics.publish_labels(frame_id)
        topics.publish(forecast, frame_id, self._fitting_camera_info(), frame.received_s)

    def _fitting_camera_info(self) -> CameraInfo | None:
        info, size = self._camera_info, self._image_size
        if info is None or size is None or fits(info, size):
            return info
        self._warn_once(
            "camera_info",
            f"camera_info is for images of {info.width}x{info.height}, but they are "
            f"{size[1]}x{size[0]}; it is not used",
        )
        return None

    def _on_drop(self, frame: Frame, reason: str) -> None:
        if reason in _DROP_WARNINGS:
            self._warn_once(reason, _DROP_WARNINGS[reason])
        elif reason == "time_jump":
            self.get_logger().warning(
                "time jumped back (a bag that loops?); the context starts anew",
                throttle_duration_sec=LOG_PERIOD_S,
            )

    def _on_error(self, reason: str, error: Exception) -> None:
        self._diagnostics.failed(_describe(error))
        self.get_logger().error(
            f"frame dropped ({reason}): {_describe(error)}", throttle_duration_sec=LOG_PERIOD_S
        )

    def _warn_once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self.get_logger().warning(text)


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ForesightError) else f"{type(error).__name__}: {text}"


def _start() -> ForecastNode:
    node = ForecastNode()
    if node.parameters["autostart"]:
        node.autostart()
    return node


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    share_cores()
    summary = "Forecasts what a camera will see next. In: image, camera_info. Out: foresight/..."
    return run_node(_start, args, usage(NODE_NAME, summary, FORECAST_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
