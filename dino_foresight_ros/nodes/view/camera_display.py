"""One camera's topics, written into the viewer's recording."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, ForecastSkill
from dino_foresight_ros.recordings.image_decoding import ImageDecoder
from dino_foresight_ros.render.objects import places_now, places_of
from dino_foresight_ros.ros.camera_feed import CameraFeed
from dino_foresight_ros.ros.camera_info import fits, scale_camera_info
from dino_foresight_ros.ros.clouds import back_project, depth_with_info, intrinsics_of
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.parameters import Parameters
from dino_foresight_ros.ros.qos import output_qos
from dino_foresight_ros.ros.rate_limit import RateLimit
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.topic_names import IMAGINED_DRAWN
from dino_foresight_ros.view.blueprint import ShownCamera
from dino_foresight_ros.view.scene_log import Intrinsics, SceneLog

_STEP_COLORS = ((255, 193, 7), (255, 111, 60), (233, 30, 99), (156, 39, 176), (63, 81, 181))
_LINES = {
    "latency_ms": ("frame in to forecast out", (66, 165, 245)),
    "rate/forecasts": ("forecasts", (102, 187, 106)),
    "rate/frames": ("frames", (158, 158, 158)),
    "dropped": ("without a forecast", (239, 83, 80)),
}


@dataclass(frozen=True)
class _Model:
    """What the newest forecast says of its model."""

    name: str = ""
    trained: bool = True
    interval_s: float = 0.0


class CameraDisplay:
    """Listens to one camera and to what is forecast of it.

    Attributes:
        source: its topics.
        shown: what there is to show so far.
        last_heard_s: when the newest forecast came (time.monotonic), None before the first.
    """

    def __init__(
        self,
        node: Node,
        source: ForecastSource,
        log: SceneLog,
        parameters: Parameters,
        on_layout: Callable[[], None],
        shows_imagined: bool = True,
    ) -> None:
        """Subscribe.

        Args:
            node: that shows it.
            source: the camera's topics.
            log: where it is shown.
            parameters: the node's.
            on_layout: called when there is something else to show than before.
            shows_imagined: whether a planner's imagined views are shown beside this camera; there
                is one planner for all cameras of a node.
        """
        self.source, self._log = source, log
        self._parameters, self._on_layout = parameters, on_layout
        self.shown = ShownCamera(root=log.root, name=log.root.strip("/"))
        self.last_heard_s: float | None = None
        self._model = _Model()
        self._picture_size: tuple[int, int] | None = None
        self._decoder, self._imagined_decoder = ImageDecoder(), ImageDecoder()
        self._intrinsics: NDArray[np.float64] | None = None
        self._newest_ns: int | None = None
        self._why_no_points = ""
        self._picture_limit, self._forecast_limit = RateLimit(), RateLimit()
        self._named: set[str] = set()
        log.name_lines(_LINES)
        self._feed = CameraFeed(node, source, self._on_image, self._on_forecast, log.set_classes)
        self._feed.open()
        topic = f"{source.folder}/skill"
        node.create_subscription(ForecastSkill, topic, self._on_skill, output_qos(20))
        self._node = node
        self._imagined_topic = f"{source.shared_folder}/{IMAGINED_DRAWN.name}"
        self._shows_imagined = shows_imagined
        self._imagined: Any = None
        self._imagined_limit = RateLimit()

    def follow(self) -> None:
        """Now and then: listen to a planner's imagined views, once there is one.

        It has them imagined only while somebody listens.
        """
        if not self._shows_imagined or self._imagined is not None:
            return
        if self._node.count_publishers(self._imagined_topic):
            self._imagined = self._node.create_subscription(
                Image, self._imagined_topic, self._on_imagined, output_qos(1)
            )

    def _on_imagined(self, message: Image) -> None:
        decode = self._imagined_decoder.take(message)
        if self._allows(self._imagined_limit):
            self._log.add_imagined(time_to_ns(message.header.stamp), decode())
            self._show(replace(self.shown, has_imagined=True))

    def _on_image(self, message: Image | CompressedImage) -> None:
        decode = self._decoder.take(message)
        if not self._allows(self._picture_limit):
            return
        image = decode()
        self._picture_size = (image.shape[0], image.shape[1])
        self._follow_camera_info()
        stamp_ns = time_to_ns(message.header.stamp)
        self._log.add_picture(stamp_ns, image)
        self._newest_ns = stamp_ns

    def _follow_camera_info(self) -> None:
        """Tell the scene of new intrinsics, for pictures of the size that it shows."""
        info, size = self._feed.info, self._picture_size
        if info is None or size is None or not fits(info, size):
            return
        scaled = scale_camera_info(info, self._log.shown_size(*size))
        matrix, known = intrinsics_of(scaled), self._intrinsics
        if matrix is not None and (known is None or not np.array_equal(known, matrix)):
            self._intrinsics = matrix
            self._log.set_camera(Intrinsics(matrix, (scaled.height, scaled.width)))

    def _on_forecast(self, message: Forecast) -> None:
        self.last_heard_s = time.monotonic()
        stamp_ns = time_to_ns(message.header.stamp)
        self._log.add_numbers(stamp_ns, {"latency_ms": message.latency * 1000.0})
        if not self._allows(self._forecast_limit):
            return
        self._newest_ns = stamp_ns
        scenes = [scene for step, scene in self._feed.scenes(message).items() if step > 0]
        for scene in scenes:
            self._log.add_step(stamp_ns, scene)
        self._add_objects(stamp_ns, scenes)
        has_points = bool(scenes) and self._add_points(stamp_ns, scenes[-1])
        self._model = _Model(message.model_name, message.trained, message.frame_interval)
        self._show(
            replace(
                self.shown,
                steps=tuple((scene.step, round(scene.horizon_s, 3)) for scene in scenes),
                has_segmentation=any(scene.segmentation is not None for scene in scenes),
                has_depth=any(scene.depth is not None for scene in scenes),
                has_points=self.shown.has_points or has_points,
                depth_is_metric=any(scene.depth_is_metric for scene in scenes),
                trained=message.trained,
            )
        )

    def _add_objects(self, stamp_ns: int, scenes: list[Scene]) -> None:
        shown = [scene for scene in scenes if scene.instances is not None]
        if not shown:
            return
        palette, paths = self._feed.palette, self._feed.paths(stamp_ns)
        names = () if palette is None else palette.names
        for place, scene in enumerate(shown):
            assert scene.instances is not None
            height, width = scene.instances.shape
            now = places_now(paths, (height, width))
            self._log.add_objects(stamp_ns, scene, {**places_of(shown[:place]), **now}, names)
        self._log.add_ways(stamp_ns, paths, names)

    def _add_points(self, stamp_ns: int, scene: Scene) -> bool:
        try:
            topic = self.source.image
            depth, info = depth_with_info(scene, self._feed.info, self._picture_size, topic)
        except InputError as error:
            self._why_no_points = str(error)
            return False
        self._why_no_points = ""
        stride = max(1, math.ceil(math.sqrt(depth.size / self._parameters["max_points"])))
        points, known = back_project(depth, info, stride, self._parameters["max_depth_m"])
        ids: NDArray[np.uint8] | None = None
        if scene.segmentation is not None and scene.segmentation.shape == depth.shape:
            ids = scene.segmentation[::stride, ::stride][known]
        self._log.add_points(stamp_ns, points, ids)
        return True

    def _on_skill(self, message: ForecastSkill) -> None:
        name = f"skill/step_{message.step}"
        if name not in self._named:
            self._named.add(name)
            color = _STEP_COLORS[(message.step - 1) % len(_STEP_COLORS)]
            self._log.name_lines({name: (f"t+{message.horizon:.2f} s", color)})
        stamp_ns = time_to_ns(message.header.stamp)
        self._log.add_numbers(stamp_ns, {name: message.running_skill})
        self._show(replace(self.shown, has_skill=True))

    def on_status(self, status: DiagnosticStatus) -> None:
        """The forecasting node's diagnostics, at the newest stamp that was shown."""
        values = {pair.key: pair.value for pair in status.values}
        if self._newest_ns is None:
            return
        lead = f"camera.{self.source.name}." if self.source.name else ""
        numbers = {
            name: float(values[f"{lead}{key}"])
            for name, key in (
                ("rate/forecasts", "output_rate_hz"),
                ("rate/frames", "input_rate_hz"),
            )
            if f"{lead}{key}" in values
        }
        dropped = [float(v) for k, v in values.items() if k.startswith(f"{lead}dropped.")]
        total = values.get(f"{lead}dropped_total")
        numbers["dropped"] = float(total) if total is not None else sum(dropped)
        self._log.add_numbers(self._newest_ns, numbers)

    def _allows(self, limit: RateLimit) -> bool:
        limit.max_rate_hz = self._parameters["max_rate_hz"]
        # A little early is as good: a 10 Hz stream with jitter stays one of 10 Hz.
        return limit.allows(time.monotonic(), early=0.3)

    def _show(self, shown: ShownCamera) -> None:
        if shown != self.shown:
            self.shown = shown
            self._on_layout()
        self._log.set_about(self._about())

    def _about(self) -> str:
        model, shown = self._model, self.shown
        lines = [f"# {model.name}"]
        if not model.trained:
            lines.append("**UNTRAINED: the weights are random, these forecasts mean nothing.**")
        lines.append(f"{len(shown.steps)} steps of {model.interval_s:.2f} s")
        if shown.has_depth:
            metric = shown.depth_is_metric
            lines.append(f"depth: {'metres' if metric else 'relative, 0 far to 255 near'}")
        if self._why_no_points:
            lines.append(f"no 3D points: {self._why_no_points}")
        lines.append(f"`{self.source.image}`\n`{self.source.folder}/forecast`")
        return "\n\n".join(lines)
