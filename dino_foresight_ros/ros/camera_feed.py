"""One camera and what is forecast of it, for nodes that show both."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, Labels, Objects
from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.render.colors import ClassPalette
from dino_foresight_ros.ros.camera_info import CameraInfoInput
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.image_subscription import ImageInput
from dino_foresight_ros.ros.messages import read_step
from dino_foresight_ros.ros.object_messages import read_objects
from dino_foresight_ros.ros.qos import latched_qos, output_qos, subscribe
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.topic_names import OBJECTS

REPEAT_PERIOD_S = 10.0
_KEPT_REASONS = 64
# Such as an age, which changes; not that of a name, such as cam_2.
_NUMBER = re.compile(r"(?<![\w/.])[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
_KEPT_OBJECTS = 16
# What reading and drawing a malformed message raises.
_BROKEN = (InputError, ValueError, TypeError, ArithmeticError, LookupError, cv2.error)


class RepeatedWarnings:
    """Warns once of what lasts, and again where it comes back after a while."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last_s: dict[str, float] = {}

    def warn(self, text: str, of: str = "") -> None:
        """Say it, unless it was said a moment ago, if with other numbers.

        Args:
            text: the sentence.
            of: what it is about, where that has a number that counts. The sentence begins with it.
        """
        now_s = time.monotonic()
        reason = of + _NUMBER.sub("0", text.removeprefix(of))
        last_s = self._last_s.pop(reason, None)
        self._last_s[reason] = now_s
        if len(self._last_s) > _KEPT_REASONS:
            self._last_s.pop(next(iter(self._last_s)))
        if last_s is None or now_s - last_s > REPEAT_PERIOD_S:
            self._node.get_logger().warning(text)

    @contextmanager
    def of_broken(self, lead: str) -> Iterator[None]:
        """Warn of what a malformed message raises inside, after the lead, and go on."""
        try:
            yield
        except _BROKEN as error:
            self.warn(f"{lead}: {' '.join(str(error).split())}", lead)


class CameraFeed:
    """Subscribes to a camera, its calibration, its forecasts and what their classes mean.

    Attributes:
        info: the newest camera_info; None before the first.
        palette: names and colours of the classes; None without a segmentation head.
        warnings: for whatever is wrong with messages.
    """

    def __init__(
        self,
        node: Node,
        source: ForecastSource,
        on_image: Callable[[Any], None],
        on_forecast: Callable[[Forecast], None],
        on_palette: Callable[[ClassPalette], None] | None = None,
        *,
        reliability: str = "auto",
        queue_depth: int = 5,
    ) -> None:
        """Subscribe to calibration and classes; to images and forecasts by `open`.

        Args:
            node: that shows them.
            source: the topics.
            on_image: takes an Image or CompressedImage; what it raises is told.
            on_forecast: takes a forecast; what it raises is told.
            on_palette: takes new classes.
            reliability: of the image subscription.
            queue_depth: of the forecasts.
        """
        self._node, self._source = node, source
        self._on_image, self._on_forecast = on_image, on_forecast
        self._on_palette = on_palette
        self._reliability, self._queue_depth = reliability, queue_depth
        self.info: CameraInfo | None = None
        self.palette: ClassPalette | None = None
        self.warnings = RepeatedWarnings(node)
        self._images: ImageInput | None = None
        self._forecasts: Any = None
        self._objects: Any = None
        self._paths: OrderedDict[int, tuple[ObjectPath, ...]] = OrderedDict()
        if source.camera_info:
            CameraInfoInput(node, source.camera_info, self._on_info)
        subscribe(node, Labels, f"{source.folder}/labels", self._on_labels, latched_qos())

    @property
    def is_open(self) -> bool:
        """Whether images and forecasts are listened to."""
        return self._images is not None

    def open(self) -> None:
        """Listen to images and forecasts."""
        kind = CompressedImage if self._source.is_compressed else Image
        on_image = self._guarded(self._on_image, "image ignored")
        self._images = ImageInput(self._node, self._source.image, kind, on_image, self._reliability)
        self._forecasts = subscribe(
            self._node,
            Forecast,
            f"{self._source.folder}/forecast",
            self._guarded(self._on_forecast, "forecast ignored"),
            output_qos(self._queue_depth),
        )
        self._objects = subscribe(
            self._node,
            Objects,
            f"{self._source.folder}/{OBJECTS.name}",
            self._guarded(self._keep_objects, "objects ignored"),
            output_qos(self._queue_depth),
        )

    def close(self) -> None:
        """Listen to neither any more."""
        if self._images is not None:
            self._images.close()
            self._node.destroy_subscription(self._forecasts)
            self._node.destroy_subscription(self._objects)
            self._images = self._forecasts = self._objects = None
            self._paths.clear()

    def scenes(self, message: Forecast) -> dict[int, Scene]:
        """Step -> what is predicted; a broken step is told and left out."""
        found: dict[int, Scene] = {}
        for step in message.steps:
            with self.warnings.of_broken(f"step {step.step} not drawn"):
                found[step.step] = read_step(step)
        return found

    def paths(self, stamp_ns: int) -> tuple[ObjectPath, ...]:
        """The objects of the forecast with this stamp; none where they did not come."""
        return self._paths.get(stamp_ns, ())

    def _keep_objects(self, message: Objects) -> None:
        self._paths[time_to_ns(message.header.stamp)] = read_objects(message)
        while len(self._paths) > _KEPT_OBJECTS:
            self._paths.popitem(last=False)

    def _guarded(self, callback: Callable[[Any], None], lead: str) -> Callable[[Any], None]:
        def guarded(message: Any) -> None:
            with self.warnings.of_broken(lead):
                callback(message)

        return guarded

    def _on_info(self, message: CameraInfo) -> None:
        self.info = message

    def _on_labels(self, message: Labels) -> None:
        with self.warnings.of_broken("labels ignored"):
            self.palette = read_palette(message)
            if self.palette is not None and self._on_palette is not None:
                self._on_palette(self.palette)


def read_palette(labels: Labels | None) -> ClassPalette | None:
    """Names and colours of the classes; None without a segmentation head.

    Raises:
        InputError: names and colours do not fit each other.
    """
    if labels is None or not labels.names:
        return None
    if len(labels.palette) != 3 * len(labels.names):
        raise InputError(
            f"labels have {len(labels.names)} class names but {len(labels.palette)} palette "
            f"values; {3 * len(labels.names)} are needed (r, g, b of each class)"
        )
    flat = [int(value) for value in labels.palette]
    colors = tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
    return ClassPalette(tuple(labels.names), colors, int(labels.unlabelled))
