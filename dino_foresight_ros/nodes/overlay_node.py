"""overlay_node: draws what forecast_node predicts. Works on messages alone, on any machine.

In: image, camera_info, foresight/forecast, foresight/labels.
Out, each only while somebody subscribes to it: foresight/step_k/image_color (classes over the
newest picture), foresight/step_k/points (predicted depth as a cloud, coloured by class),
foresight/mosaic/image_color, foresight/markers.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, Labels
from dino_foresight_ros.render.annotate import annotate_step
from dino_foresight_ros.render.depth import DepthScale
from dino_foresight_ros.render.mosaic import Mosaic
from dino_foresight_ros.render.palette import ClassPalette, Picture
from dino_foresight_ros.render.theme import UNTRAINED_TAG
from dino_foresight_ros.render.tiles import fit
from dino_foresight_ros.render.views import Look, Moment, StepView
from dino_foresight_ros.ros.camera_info import fits, scale_camera_info
from dino_foresight_ros.ros.forecast_views import read_palette, read_step
from dino_foresight_ros.ros.image_input import ImageInput
from dino_foresight_ros.ros.images import image_to_msg, msg_to_rgb
from dino_foresight_ros.ros.overlay_parameters import OVERLAY_PARAMETERS
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.point_clouds import depth_to_points
from dino_foresight_ros.ros.qos import camera_info_input_qos, latched_qos, output_qos
from dino_foresight_ros.ros.run import run_node
from dino_foresight_ros.ros.stamps import NS_PER_S, time_to_ns

NODE_NAME = "overlay_node"
LOG_PERIOD_S = 10.0
FOLLOW_PERIOD_S = 0.25
_KEPT_IMAGES = 32
_NEAREST_NS = NS_PER_S // 5
# Beyond this the clocks of stamps and node have nothing to do with each other (a played bag).
_BELIEVABLE_AGE_MS = 60_000.0
_MARKER_LIFETIME = Duration(sec=2)


class OverlayNode(Node):
    """Keeps the newest pictures and draws on the one that a forecast was made from."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self.parameters = Parameters(self, OVERLAY_PARAMETERS, lambda: False)
        self._pictures: OrderedDict[int, Image | CompressedImage] = OrderedDict()
        self._palette: ClassPalette | None = None
        self._info: CameraInfo | None = None
        steps = range(1, self.parameters["steps"] + 1)
        advertise = self.create_publisher
        self._overlays = {
            k: advertise(Image, f"foresight/step_{k}/image_color", output_qos()) for k in steps
        }
        self._clouds = {
            k: advertise(PointCloud2, f"foresight/step_{k}/points", output_qos()) for k in steps
        }
        self._mosaic = advertise(Image, "foresight/mosaic/image_color", output_qos())
        self._markers = advertise(MarkerArray, "foresight/markers", output_qos())
        subscribe = self.create_subscription
        subscribe(CameraInfo, "camera_info", self._on_info, camera_info_input_qos())
        subscribe(Labels, "foresight/labels", self._on_labels, latched_qos())
        self._images: ImageInput | None = None
        self._forecasts: Any = None
        # Not the node's clock, which stands still while a recording is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(FOLLOW_PERIOD_S, self._follow_listeners, clock=steady)

    def _follow_listeners(self) -> None:
        """Listen only while somebody looks: the forecast node computes what is subscribed to."""
        every = [*self._overlays.values(), *self._clouds.values(), self._mosaic, self._markers]
        wanted = any(publisher.get_subscription_count() for publisher in every)
        if wanted and self._forecasts is None:
            compressed = self.parameters["image_transport"] == "compressed"
            kind = CompressedImage if compressed else Image
            reliability = self.parameters["image_reliability"]
            self._images = ImageInput(self, "image", kind, self._on_image, reliability)
            self._forecasts = self.create_subscription(
                Forecast, "foresight/forecast", self._on_forecast, output_qos(1)
            )
        elif not wanted and self._forecasts is not None:
            self.destroy_subscription(self._forecasts)
            self._forecasts = None
            if self._images is not None:
                self._images.close()
                self._images = None
            self._pictures.clear()

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._pictures[time_to_ns(message.header.stamp)] = message
        while len(self._pictures) > _KEPT_IMAGES:
            self._pictures.popitem(last=False)

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_labels(self, message: Labels) -> None:
        self._palette = read_palette(message)

    def _on_forecast(self, message: Forecast) -> None:
        try:
            self._draw(message)
        except (InputError, ValueError) as error:
            text = " ".join(str(error).split())
            self.get_logger().error(f"nothing drawn: {text}", throttle_duration_sec=LOG_PERIOD_S)

    def _draw(self, message: Forecast) -> None:
        views = {step.step: read_step(step) for step in message.steps}
        age_ms = self._age_ms(message)
        if self._markers.get_subscription_count():
            self._markers.publish(_captions(message, list(views.values()), age_ms))
        for k, publisher in self._clouds.items():
            if k in views and publisher.get_subscription_count():
                self._publish_cloud(publisher, message, views[k])
        wanted = [k for k, p in self._overlays.items() if k in views and p.get_subscription_count()]
        if not wanted and not self._mosaic.get_subscription_count():
            return
        image = self._picture_of(time_to_ns(message.header.stamp))
        if image is None:
            self.get_logger().warning(
                f"no picture on {self.resolve_topic_name('image')} with the forecast's time stamp; "
                "remap image to the topic that forecast_node listens to",
                throttle_duration_sec=LOG_PERIOD_S,
            )
            return
        for k in wanted:
            self._publish_overlay(message, image, views[k], age_ms)
        if self._mosaic.get_subscription_count():
            self._publish_mosaic(message, image, tuple(views.values()))

    def _picture_of(self, stamp_ns: int) -> Picture | None:
        """The picture with this stamp, or the nearest one shortly before or after."""
        if not self._pictures:
            return None
        nearest = min(self._pictures, key=lambda kept: abs(kept - stamp_ns))
        if abs(nearest - stamp_ns) > _NEAREST_NS:
            return None
        return msg_to_rgb(self._pictures[nearest])

    def _age_ms(self, message: Forecast) -> float | None:
        now_ns = self.get_clock().now().nanoseconds
        age_ms = (now_ns - time_to_ns(message.header.stamp)) / 1e6
        return age_ms if 0.0 <= age_ms < _BELIEVABLE_AGE_MS else None

    def _publish_overlay(
        self, message: Forecast, image: Picture, view: StepView, age_ms: float | None
    ) -> None:
        if view.segmentation is None or self._palette is None:
            return
        drawn = annotate_step(
            image,
            view.segmentation,
            self._palette,
            caption(view, age_ms),
            alpha=self.parameters["alpha"],
            with_legend=self.parameters["legend"],
            trained=message.trained,
        )
        self._overlays[view.step].publish(image_to_msg(drawn, "rgb8", message.header))

    def _publish_mosaic(
        self, message: Forecast, image: Picture, views: tuple[StepView, ...]
    ) -> None:
        has_depth = any(view.depth is not None for view in views)
        is_metric = any(step.depth_is_metric for step in message.steps)
        stamp_ns = time_to_ns(message.header.stamp)
        look = Look(
            self._palette,
            DepthScale.fixed(is_metric) if has_depth else None,
            origin_ns=stamp_ns,
            trained=message.trained,
            alpha=self.parameters["alpha"],
        )
        aspect = image.shape[1] / image.shape[0]
        steps = [view.step for view in views][:4]
        mosaic = Mosaic(look, steps, aspect, self.parameters["mosaic_width"])
        small = fit(image, (round(480 / aspect), 480)) if image.shape[1] > 480 else image
        moment = Moment(small, stamp_ns, views, message.latency * 1000.0)
        drawn = mosaic.draw(moment)
        self._mosaic.publish(image_to_msg(drawn, "rgb8", message.header))

    def _publish_cloud(self, publisher: Any, message: Forecast, view: StepView) -> None:
        is_metric = any(s.depth_is_metric for s in message.steps if s.step == view.step)
        if view.depth is None or not is_metric:
            self._say_no_cloud("the forecast has no metric depth")
            return
        if self._info is None:
            self._say_no_cloud("no camera_info came")
            return
        size = (view.depth.shape[0], view.depth.shape[1])
        # The forecast is of the whole view, at the head's own aspect ratio.
        if self._pictures and not fits(self._info, self._picture_size()):
            self._say_no_cloud("camera_info is of another camera than the pictures")
            return
        colors = None
        if view.segmentation is not None and self._palette is not None:
            colors = self._palette.colorize(view.segmentation)
        cloud = depth_to_points(
            view.depth,
            colors,
            scale_camera_info(self._info, size),
            message.header,
            self.parameters["point_stride"],
            self.parameters["max_depth_m"],
        )
        publisher.publish(cloud)

    def _picture_size(self) -> tuple[int, int]:
        newest = next(reversed(self._pictures.values()))
        if isinstance(newest, Image):
            return newest.height, newest.width
        shape = msg_to_rgb(newest).shape
        return shape[0], shape[1]

    def _say_no_cloud(self, why: str) -> None:
        self.get_logger().warning(f"no point cloud: {why}", throttle_duration_sec=LOG_PERIOD_S)


def caption(view: StepView, age_ms: float | None) -> str:
    """What stands on a picture: step, horizon and age."""
    text = f"step {view.step}   t+{view.horizon_s:.2f} s"
    return text if age_ms is None else f"{text}   age {age_ms:.0f} ms"


def _captions(message: Forecast, views: Sequence[StepView], age_ms: float | None) -> MarkerArray:
    """A line of text per step, side by side above the view, in the camera's optical frame."""
    markers = []
    for place, view in enumerate(views):
        text = caption(view, age_ms)
        if not message.trained:
            text = f"{text} ({UNTRAINED_TAG})"
        markers.append(
            Marker(
                header=message.header,
                ns="foresight",
                id=view.step,
                type=Marker.TEXT_VIEW_FACING,
                action=Marker.ADD,
                pose=Pose(
                    position=Point(x=0.0, y=-3.0 - 0.6 * place, z=8.0),
                    orientation=Quaternion(w=1.0),
                ),
                scale=Vector3(z=0.5),
                color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
                lifetime=_MARKER_LIFETIME,
                text=text,
            )
        )
    return MarkerArray(markers=markers)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    summary = "Draws forecasts over the camera's pictures, as mosaics and as point clouds."
    return run_node(OverlayNode, args, usage(NODE_NAME, summary, OVERLAY_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
