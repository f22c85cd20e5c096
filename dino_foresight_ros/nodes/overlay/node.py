"""overlay_node: draws what forecast_node predicts. Works on messages alone, on any machine.

In: image, camera_info, foresight/forecast, foresight/labels, foresight/objects.
Out, each only while somebody subscribes to it: the OVERLAY_TOPICS.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast
from dino_foresight_ros.nodes.overlay.captions import (
    believable_age_ms,
    caption,
    caption_markers,
    lifetime_of,
)
from dino_foresight_ros.nodes.overlay.object_markers import object_markers
from dino_foresight_ros.nodes.overlay.parameters import OVERLAY_PARAMETERS
from dino_foresight_ros.recordings.image_decoding import ImageDecoder
from dino_foresight_ros.render.annotate import annotate_step, captioned
from dino_foresight_ros.render.colors import DepthScale, Picture
from dino_foresight_ros.render.mosaic import Mosaic
from dino_foresight_ros.render.objects import draw_objects, places_now, places_of
from dino_foresight_ros.render.style import Style
from dino_foresight_ros.render.tiles import fit
from dino_foresight_ros.ros.camera_feed import CameraFeed
from dino_foresight_ros.ros.clouds import depth_to_points, depth_with_info
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.node_main import run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import (
    advertise,
    check_overrides,
    output_qos,
    warn_of_unused_overrides,
)
from dino_foresight_ros.ros.rivals import warn_of_rivals
from dino_foresight_ros.ros.stream_watch import PeriodWatch
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.topic_names import (
    CAPTIONS_DRAWN,
    CLASSES_DRAWN,
    DEPTH_DRAWN,
    MOSAIC_DRAWN,
    NEWEST_DRAWN,
    POINTS_DRAWN,
    MadeTopic,
)

NODE_NAME = "overlay_node"
FOLLOW_PERIOD_S = 0.25
_KEPT_IMAGES = 32
_NEAREST_NS = NS_PER_S // 5
_SMALL_WIDTH = 480


class _Kept(NamedTuple):
    """A picture that came, decoded when it is needed."""

    message: Image | CompressedImage
    decode: Callable[[], Picture]


class OverlayNode(Node):
    """Keeps the newest pictures and draws on the one that a forecast was made from."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.parameters = Parameters(self, OVERLAY_PARAMETERS, lambda: False)
        self._pictures: OrderedDict[int, _Kept] = OrderedDict()
        self._decoder = ImageDecoder()
        steps = range(1, self.parameters["steps"] + 1)

        def draw(kind: type, topic: MadeTopic, step: int = 0) -> Any:
            return advertise(self, kind, f"foresight/{topic.of_step(step)}", output_qos())

        self._overlays = {k: draw(Image, CLASSES_DRAWN, k) for k in steps}
        self._now = draw(Image, NEWEST_DRAWN)
        self._depths = {k: draw(Image, DEPTH_DRAWN, k) for k in steps}
        self._clouds = {k: draw(PointCloud2, POINTS_DRAWN, k) for k in steps}
        self._mosaic = draw(Image, MOSAIC_DRAWN)
        self._markers = draw(MarkerArray, CAPTIONS_DRAWN)
        self._arrivals = PeriodWatch(least=1, most=5)
        self._objects_shown: list[int] = []
        compressed = self.parameters["image_transport"] == "compressed"
        self._feed = CameraFeed(
            self,
            ForecastSource("", "foresight", "image", "camera_info", compressed, ""),
            self._on_image,
            self._on_forecast,
            reliability=self.parameters["image_reliability"],
            queue_depth=1,
        )
        self._telling = self._feed.warnings.of_broken
        steady_timer(self, FOLLOW_PERIOD_S, self._follow_listeners)
        warn_of_rivals(self, lambda: [self._markers.topic_name])
        warn_of_unused_overrides(self, ("image", "foresight/forecast"))

    def _follow_listeners(self) -> None:
        """Listen only while somebody looks: the forecast node computes what is subscribed to."""
        of_steps = (*self._overlays.values(), *self._depths.values(), *self._clouds.values())
        every = [*of_steps, self._now, self._mosaic, self._markers]
        wanted = any(publisher.get_subscription_count() for publisher in every)
        if wanted and not self._feed.is_open:
            self._feed.open()
        elif not wanted and self._feed.is_open:
            self._feed.close()
            self._pictures.clear()
            self._arrivals.restart()

    def _on_image(self, message: Image | CompressedImage) -> None:
        kept = _Kept(message, self._decoder.take(message))
        self._pictures[time_to_ns(message.header.stamp)] = kept
        while len(self._pictures) > _KEPT_IMAGES:
            self._pictures.popitem(last=False)

    def _on_forecast(self, message: Forecast) -> None:
        self._arrivals.frame(self.get_clock().now().nanoseconds)
        scenes = self._feed.scenes(message)
        age_ms = self._age_ms(message)
        if self._markers.get_subscription_count():
            with self._telling("no captions"):
                lifetime, info = lifetime_of(self._arrivals), self._feed.info
                made = caption_markers(message, list(scenes.values()), age_ms, lifetime, info)
                paths = self._feed.paths(time_to_ns(message.header.stamp))
                names = self._feed.palette.names if self._feed.palette is not None else ()
                made.markers += object_markers(
                    message.header, paths, names, lifetime, self._objects_shown
                )
                self._objects_shown = [path.id for path in paths]
                self._markers.publish(made)
        for k in _wanted(self._depths, scenes):
            with self._telling("no coloured depth"):
                self._publish_depth(message, scenes[k])
        for k in _wanted(self._clouds, scenes):
            with self._telling("no point cloud"):
                self._publish_cloud(message, scenes[k])
        self._draw_on_picture(message, scenes, age_ms)

    def _draw_on_picture(
        self, message: Forecast, scenes: dict[int, Scene], age_ms: float | None
    ) -> None:
        steps = _wanted(self._overlays, scenes)
        others = (self._now, self._mosaic)
        if not steps and not any(publisher.get_subscription_count() for publisher in others):
            return
        with self._telling("picture not drawn on"):
            image = self._picture_of(time_to_ns(message.header.stamp))
            if image is None:
                raise InputError(
                    f"no picture on {self.resolve_topic_name('image')} with the forecast's time "
                    "stamp; remap image to the topic that forecast_node listens to"
                )
            if self._now.get_subscription_count():
                self._now.publish(image_to_msg(_small(image), "rgb8", message.header))
            for k in steps:
                with self._telling(f"no overlay of step {k}"):
                    earlier = [scene for step, scene in scenes.items() if step < k]
                    self._publish_overlay(message, image, scenes[k], earlier, age_ms)
            if self._mosaic.get_subscription_count():
                with self._telling("no mosaic"):
                    self._publish_mosaic(message, image, tuple(scenes.values()))

    def _picture_of(self, stamp_ns: int) -> Picture | None:
        """The picture with this stamp, or the nearest one shortly before or after."""
        if not self._pictures:
            return None
        nearest = min(self._pictures, key=lambda kept: abs(kept - stamp_ns))
        if abs(nearest - stamp_ns) > _NEAREST_NS:
            return None
        return self._pictures[nearest].decode()

    def _age_ms(self, message: Forecast) -> float | None:
        clock = self.get_clock()
        if clock.ros_time_is_active:  # a recording's
            return None
        stamp_ns = time_to_ns(message.header.stamp)
        return believable_age_ms(clock.now().nanoseconds, stamp_ns, message.latency)

    def _publish_overlay(
        self,
        message: Forecast,
        image: Picture,
        scene: Scene,
        earlier: Sequence[Scene],
        age_ms: float | None,
    ) -> None:
        palette, drawn = self._feed.palette, image
        if scene.instances is not None:
            paths = self._feed.paths(time_to_ns(message.header.stamp))
            height, width = scene.instances.shape
            before = {**places_of(earlier), **places_now(paths, (height, width))}
        if scene.segmentation is not None and palette is not None:
            drawn = annotate_step(
                drawn,
                scene.segmentation,
                palette,
                caption(scene, age_ms),
                alpha=self.parameters["alpha"],
                with_legend=self.parameters["legend"],
                trained=message.trained,
            )
        elif scene.instances is not None:
            drawn = captioned(drawn, caption(scene, age_ms), message.trained)
        else:
            return
        if scene.instances is not None:
            drawn = draw_objects(drawn, scene, before)
        self._overlays[scene.step].publish(image_to_msg(drawn, "rgb8", message.header))

    def _publish_mosaic(self, message: Forecast, image: Picture, scenes: tuple[Scene, ...]) -> None:
        depths = [scene for scene in scenes if scene.depth is not None]
        stamp_ns = time_to_ns(message.header.stamp)
        style = Style(
            self._feed.palette,
            DepthScale.fixed(any(s.depth_is_metric for s in depths)) if depths else None,
            origin_ns=stamp_ns,
            trained=message.trained,
            alpha=self.parameters["alpha"],
            has_instances=any(scene.instances is not None for scene in scenes),
        )
        aspect = image.shape[1] / image.shape[0]
        steps = [scene.step for scene in scenes][:4]
        mosaic = Mosaic(style, steps, aspect, self.parameters["mosaic_width"])
        newest = Scene(stamp_ns, image=_small(image))
        steps_drawn = tuple(map(ComparedStep, scenes))
        drawn = mosaic.draw(ComparedForecast(newest, steps_drawn, message.latency * 1000.0))
        self._mosaic.publish(image_to_msg(drawn, "rgb8", message.header))

    def _publish_depth(self, message: Forecast, scene: Scene) -> None:
        if scene.depth is None:
            raise InputError("no depth is forecast")
        colors = DepthScale.fixed(scene.depth_is_metric).colorize(scene.depth)
        self._depths[scene.step].publish(image_to_msg(colors, "rgb8", message.header))

    def _publish_cloud(self, message: Forecast, scene: Scene) -> None:
        topic = self.resolve_topic_name("image")
        depth, info = depth_with_info(scene, self._feed.info, self._picture_size(), topic)
        ids, palette, colors = scene.segmentation, self._feed.palette, None
        if ids is not None and ids.shape == depth.shape and palette is not None:
            colors = palette.colorize(ids)
        cloud = depth_to_points(
            depth,
            colors,
            info,
            message.header,
            self.parameters["point_stride"],
            self.parameters["max_depth_m"],
        )
        self._clouds[scene.step].publish(cloud)

    def _picture_size(self) -> tuple[int, int] | None:
        if not self._pictures:
            return None
        newest = next(reversed(self._pictures.values()))
        if isinstance(newest.message, Image):
            return newest.message.height, newest.message.width
        shape = newest.decode().shape
        return shape[0], shape[1]


def _wanted(publishers: dict[int, Any], scenes: dict[int, Scene]) -> list[int]:
    """The predicted steps that somebody looks at."""
    return [k for k, p in publishers.items() if k in scenes and p.get_subscription_count()]


def _small(image: Picture) -> Picture:
    height, width = image.shape[:2]
    if width <= _SMALL_WIDTH:
        return image
    return fit(image, (max(1, round(height * _SMALL_WIDTH / width)), _SMALL_WIDTH))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    summary = "Draws forecasts over the camera's pictures, as mosaics and as point clouds."
    return run_node(OverlayNode, args, usage(NODE_NAME, summary, OVERLAY_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
