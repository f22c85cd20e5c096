"""One camera of the forecast node: what comes in from it, and what goes out about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.nodes.forecast.model_info import ModelInfo
from dino_foresight_ros.nodes.forecast.publishers import ForecastPublishers
from dino_foresight_ros.recordings.camera import horizontal_fov_deg
from dino_foresight_ros.recordings.image_decoding import (
    Converter,
    ImageDecoder,
    convert_with_rosbags,
)
from dino_foresight_ros.ros.camera_info import CameraInfoInput, FocalInput, check_fits
from dino_foresight_ros.ros.clouds import ASSUME_A_VIEW
from dino_foresight_ros.ros.image_subscription import ImageInput, image_topic_text
from dino_foresight_ros.ros.stream_watch import PeriodWatch, StreamChange, StreamWatch
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.topic_names import CameraTopics, frame_name

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.context_rules import ContextRule
    from dino_foresight_ros.runtime.frame import Forecast


class CameraStream:
    """Subscriptions, publishers and what is known of one camera.

    Publishers exist from here to `destroy`, subscriptions from `open` to `close`. `publish` is
    called in the worker's thread, everything else in the executor's.
    """

    def __init__(
        self,
        node: LifecycleNode,
        names: CameraTopics,
        index: int,
        model: ModelInfo,
        parameters: Mapping[str, Any],
        steps: int,
        convert: Converter = convert_with_rosbags,
    ) -> None:
        """Create the publishers.

        Args:
            node: the node that all of it belongs to.
            names: the camera's name and its topics.
            index: its place among the cameras, from 0.
            model: what the model predicts.
            parameters: the node's, by name.
            steps: how many steps of a forecast there are.
            convert: turns raw pixels into RGB.
        """
        self.names, self.index = names, index
        self.decoder = ImageDecoder(lambda text: self._log().info(self.say(text)), convert)
        self.watch: StreamWatch | None = None
        self.period = PeriodWatch()
        self.rate_problem: str | None = None
        self.frame_id = ""
        self.publishers = ForecastPublishers(
            node, model, steps, parameters["publish_features"], names.outputs
        )
        self._node = node
        self._model_size, self._canonical_focal = model.image_size, model.depth_focal
        self.focal_problem: str | None = None
        self._focal = FocalInput()
        self._came: tuple[int, int] | None = None
        self._images: ImageInput | None = None
        self._calibration: CameraInfoInput | None = None
        self._camera_info: CameraInfo | None = None
        self._said: set[str] = set()
        self._unheard: set[str] = set()

    @property
    def camera(self) -> str:
        """The camera's name; empty where there is only one."""
        return self.names.camera

    @property
    def topic_name(self) -> str:
        """Full name of the image topic, remaps applied."""
        images = self._images  # which another thread may close
        if images is not None:
            return images.topic_name
        return self._node.resolve_topic_name(self.names.image)

    def destroy(self) -> None:
        """Take subscriptions and publishers down."""
        self.close()
        self.publishers.destroy()

    def open(
        self,
        parameters: Mapping[str, Any],
        on_image: Callable[[CameraStream, Image | CompressedImage], None],
    ) -> None:
        """Subscribe to images, which go to `on_image`, and to their calibration."""
        self.publishers.publish_labels("")
        self._camera_info = self.focal_problem = None
        self.watch = StreamWatch(parameters["stream_timeout_s"], time.monotonic())
        self.period.restart()
        kind = Image if parameters["image_transport"] == "raw" else CompressedImage

        def receive(message: Image | CompressedImage) -> None:
            if self.watch is not None:
                self._came = time_to_ns(message.header.stamp), self._now_ns()
                self.frame_id = frame_name(message.header.frame_id)
                if self.watch.frame(time.monotonic()) is StreamChange.RESUMED:
                    self._unheard.clear()
                    self._log().info(self.say("the image stream resumed"))
                on_image(self, message)

        reliability = parameters["image_reliability"]
        self._images = ImageInput(self._node, self.names.image, kind, receive, reliability)
        self._calibration = CameraInfoInput(
            self._node, self.names.camera_info, self._on_camera_info
        )
        self._log().info(f"active: listening on {self.topic_name} ({kind.__name__})")

    def close(self) -> None:
        """Unsubscribe."""
        self.watch = self.focal_problem = None
        if self._images is not None and self._calibration is not None:
            self._images.close()
            self._calibration.close()
            self._images = self._calibration = None

    def check(self, timeout_s: float, rule: ContextRule) -> None:
        """To be called now and then: warn once when the stream stops, is too slow or not heard."""
        had, self.rate_problem = self.rate_problem, rule.rate_problem(self.period.period_ns)
        if self.rate_problem and not had:
            self._log().warning(self.say(self.rate_problem))
        if self.watch is None or self._images is None:
            return
        self.watch.timeout_s = timeout_s
        change = self.watch.check(time.monotonic())
        if change is not None:
            verb = "came yet" if change is StreamChange.NEVER_STARTED else "came"
            self._log().warning(
                f"no image {verb} on {self.topic_name} for {timeout_s:g} s; {self._hint(change)}"
            )
        if self._images.met_incompatible() or self.watch.is_silent:
            for sentence in self._images.unheard():
                if sentence not in self._unheard:
                    self._unheard.add(sentence)
                    self._log().warning(sentence)

    def _hint(self, change: StreamChange) -> str:
        if change is StreamChange.STOPPED:
            return "waiting for it to resume"
        node = self._node
        # Not by the graph, which may know another node of this name.
        own_topics = {publisher.topic_name for publisher in node.publishers}
        topics = sorted(
            image_topic_text(name, types)
            for name, types in node.get_topic_names_and_types()
            if name not in own_topics and node.count_publishers(name)
        )
        return f"image topics with a publisher: {', '.join(filter(None, topics)) or 'none'}"

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def publish(
        self, forecast: Forecast, frame_id: str, image_size: tuple[int, int], received_s: float
    ) -> None:
        """Publish a forecast.

        Args:
            forecast: the engine's result.
            frame_id: of the newest frame.
            image_size: (height, width) of its image.
            received_s: when it came in, seconds of `time.monotonic`.
        """
        if image_size != self._model_size:
            (height, width), (model_height, model_width) = image_size, self._model_size
            self.warn_once(
                "resize",
                f"images are {width}x{height}; each is resized to the model's "
                f"{model_width}x{model_height}",
            )
        name = frame_name(frame_id)
        if name != frame_id:
            self.warn_once(
                "frame_id",
                f"frame_id {frame_id} is published as {name}: tf2 refuses a leading slash",
            )
        # Not before: the first camera_info may come after the first image.
        if problem := self.focal_problem:
            self.warn_once(problem, f"{problem}; {ASSUME_A_VIEW}")
        self.publishers.publish_labels(name)
        info = self._fitting_camera_info(image_size)
        self.publishers.publish(forecast, name, info, received_s, self.topic_name)

    def age_s(self, stamp_ns: int) -> float:
        """How old a frame is by the node's clock, which stands still with a paused recording.

        Counted from when the newest frame came, since a recording that is played without its clock
        has stamps of another time; from any thread.

        Args:
            stamp_ns: of the frame.
        """
        if self._came is None:
            return 0.0
        newest_ns, came_ns = self._came
        return (max(newest_ns - stamp_ns, 0) + max(self._now_ns() - came_ns, 0)) / 1e9

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    @property
    def camera_info(self) -> CameraInfo | None:
        """The newest that came; None before the first."""
        return self._camera_info

    def focal(self, image_size: tuple[int, int]) -> float | None:
        """Focal length by camera_info, as `CameraView.focal` has it; from the worker's thread.

        Args:
            image_size: (height, width) of the pictures.

        Returns:
            None where it is not known; then `focal_problem` says why and what is assumed, and with
            the forecast the log does, once.
        """
        info = self._camera_info
        try:
            if info is None:
                topic = self._node.resolve_topic_name(self.names.camera_info)
                raise InputError(f"no camera_info came on {topic}")
            found = self._focal.read(info, self.topic_name, image_size)
        except InputError as error:
            assert self._canonical_focal is not None
            fov_deg = horizontal_fov_deg(self._canonical_focal, image_size)
            self.focal_problem = (
                f"metric depth is that of a camera {fov_deg:.0f} degrees wide: {error}"
            )
            return None
        self.focal_problem = None
        return found

    def _fitting_camera_info(self, size: tuple[int, int]) -> CameraInfo | None:
        info = self._camera_info
        if info is None:
            return None
        try:
            check_fits(info, size)
        except InputError as error:
            self.warn_once("camera_info", f"{error}; it is not used")
            return None
        return info

    def say(self, text: str) -> str:
        """The text, led by the camera's name where there are several."""
        return f"{self.camera}: {text}" if self.camera else text

    def warn_once(self, key: str, text: str) -> None:
        """Warn of a thing the first time; from any thread."""
        if key not in self._said:
            self._said.add(key)
            self._log().warning(self.say(text))

    def _log(self) -> Any:
        return self._node.get_logger()
