"""overlay_node as a process of its own: what it draws from messages alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from forecast_peers import Client, NodeProcess, header_at, picture
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.msg import Forecast, ForecastStep, Instance, Labels, Objects
from dino_foresight_ros.nodes.overlay import node as overlay_node
from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.render.objects import object_color
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.object_messages import build_instance, build_objects
from dino_foresight_ros.ros.time import ns_to_time, time_to_ns
from dino_foresight_ros.runtime.frame import Forecast as RuntimeForecast
from dino_foresight_ros.scene import Detection

SIZE = (240, 400)
SMALL = (24, 40)
STAMP_NS = 1_700_000_000_000_000_000
PALETTE = np.array([[200, 30, 40], [10, 220, 60], [20, 60, 250]], np.uint8)
K = [300.0, 0.0, 199.5, 0.0, 300.0, 119.5, 0.0, 0.0, 1.0]


def segmentation(step: int) -> np.ndarray:
    ids = np.zeros(SMALL, np.uint8)
    ids[:, 20:] = step % 3
    ids[:4, :4] = 255
    return ids


def depth(step: int) -> np.ndarray:
    values = np.full(SMALL, 10.0 + step, np.float32)
    values[0] = np.nan
    values[1] = 500.0
    return values


def car(step: int) -> tuple[np.ndarray, list[Instance]]:
    """One object, 4 pixels square, that goes 8 to the right in every step."""
    ids, x = np.zeros(SMALL, np.uint16), 4 + 8 * step
    ids[14:18, x : x + 4] = 7
    detection = Detection(7, 1, 0.9, (x, 14, 4, 4), (x + 1.5, 15.5))
    return ids, [build_instance(detection, ["a", "b", "c"])]


def car_ahead(stamp_ns: int) -> Objects:
    """That object now and at both steps, 9 m ahead and coming nearer."""
    horizons = np.array([0.0, 0.2, 0.4])
    positions = np.array([(-2.0, 0.5, 9.0), (-1.0, 0.5, 8.5), (0.0, 0.5, 8.0)])
    centroids = np.array([(4 + 8 * k + 1.5, 15.5) for k in range(3)])
    path = ObjectPath(7, 1, 0.9, horizons, positions, np.full(3, np.nan), centroids)
    made = RuntimeForecast(stamp_ns, (stamp_ns,), 0.2, (), "m", True, 0.0)
    return build_objects([path], made, header_at(stamp_ns), ["a", "b", "c"])


def forecast(
    stamp_ns: int, trained: bool = True, metric: bool = True, objects: bool = False
) -> Forecast:
    header = header_at(stamp_ns)
    steps = [
        ForecastStep(
            target_stamp=ns_to_time(stamp_ns + k * 200_000_000),
            horizon=0.2 * k,
            step=k,
            segmentation=image_to_msg(segmentation(k), "mono8", header),
            depth=image_to_msg(depth(k), "32FC1", header),
            depth_is_metric=metric,
        )
        for k in (1, 2)
    ]
    for step in steps if objects else ():
        ids, step.detections = car(step.step)
        step.instances = image_to_msg(ids, "mono16", header)
    return Forecast(header=header, steps=steps, trained=trained, model_name="m", latency=0.03)


def stamp_of(message: Any) -> int:
    stamped = message.markers[0] if isinstance(message, MarkerArray) else message
    return time_to_ns(stamped.header.stamp)


class Scene:
    """A peer that plays camera and forecast node.

    Its stamps go on from test to test: the node, which they share, remembers objects by stamp.
    """

    now_ns = STAMP_NS

    def __init__(self, node: NodeProcess, client: Client) -> None:
        self.node, self.client = node, client
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        create = client.node.create_publisher
        self.forecasts = create(Forecast, "foresight/forecast", 5)
        self.objects = create(Objects, "foresight/objects", 5)
        self.info = create(CameraInfo, "camera_info", 5)
        self.labels = create(Labels, "foresight/labels", latched)
        self.labels.publish(
            Labels(names=["a", "b", "c"], palette=PALETTE.reshape(-1).tolist(), unlabelled=255)
        )
        self.calibration: dict[str, Any] = {
            "k": K,
            "p": [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0],
            "width": SIZE[1],
            "height": SIZE[0],
        }

    def listen(self, kind: type, topic: str) -> list[Any]:
        kept = self.client.subscribe(kind, topic)
        heard = self.client.spin_until(
            lambda: (
                self.forecasts.get_subscription_count() > 0
                and self.client.images.get_subscription_count() > 0
            )
        )
        assert heard, self.node.text
        return kept

    def play(self, kept: list[Any], **fields: bool) -> int:
        """Publish a frame and its forecast until something new was drawn; return the stamp."""

        def is_drawn() -> bool:
            Scene.now_ns += 200_000_000
            self.client.publish(self.now_ns, SIZE)
            self.info.publish(CameraInfo(header=header_at(self.now_ns), **self.calibration))
            if fields.get("objects"):
                self.objects.publish(car_ahead(self.now_ns))
            self.client.spin_for(0.1)
            self.forecasts.publish(forecast(self.now_ns, **fields))
            # Not just anything new, which may be late and of the last round.
            return self.client.spin_until(
                lambda: bool(kept) and stamp_of(kept[-1]) == self.now_ns, 1.0
            )

        assert self.client.spin_until(is_drawn), "nothing was drawn"
        return self.now_ns

    def play_until(self, kept: list[Any], holds: Callable[[], bool], **fields: bool) -> None:
        """Play until what was drawn is as expected: on a busy machine objects may come late."""
        for _ in range(20):
            self.play(kept, **fields)
            if holds():
                return


@pytest.fixture(scope="module")
def process(ros_domain: dict[str, str], tmp_path_factory) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp("overlay") / "log"
    node = NodeProcess(ros_domain, log, "legend:=false", program=overlay_node.main)
    yield node
    try:
        assert node.end(signal.SIGINT) == 0, node.text
    finally:
        node.kill()


@pytest.fixture
def scene(process: NodeProcess) -> Iterator[Scene]:
    client = Client("overlay_client")
    yield Scene(process, client)
    client.close()


def as_rgb(message: Image) -> np.ndarray:
    assert message.encoding == "rgb8"
    return np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.width, 3)


def test_classes_are_laid_over_the_picture_that_the_forecast_was_made_from(scene: Scene):
    kept = scene.listen(Image, "foresight/step_2/image_color")
    stamp_ns = scene.play(kept)
    drawn = as_rgb(kept[-1])
    assert kept[-1].header == header_at(stamp_ns)
    image = picture(stamp_ns, SIZE)
    ids = cv2.resize(segmentation(2), (SIZE[1], SIZE[0]), interpolation=cv2.INTER_NEAREST)
    below = slice(60, None)  # under the caption
    mixed = cv2.addWeighted(PALETTE[np.minimum(ids, 2)], 0.5, image, 0.5, 0.0)
    labelled = ids != 255
    error = np.abs(drawn.astype(int) - mixed)[below][labelled[below]]
    assert error.max() <= 1
    caption = drawn[:40, :200].astype(int) - np.where(labelled[..., None], mixed, image)[:40, :200]
    assert (np.abs(caption).sum(2) > 60).mean() > 0.1


def test_objects_have_outlines_and_arrows_from_now_to_then(scene: Scene):
    kept = scene.listen(Image, "foresight/step_2/image_color")
    plain = as_rgb(kept[-1]) if scene.play(kept) else None
    count = len(kept)
    color = np.array(object_color(7))
    before = np.abs(plain.astype(int) - color).max(axis=-1) < 60

    def newly_painted() -> np.ndarray:
        return (np.abs(as_rgb(kept[-1]).astype(int) - color).max(axis=-1) < 60) & ~before

    scene.play_until(kept, lambda: bool(newly_painted().any()), objects=True)
    assert len(kept) > count
    new = newly_painted()
    _, columns = np.nonzero(new[60:])
    # The mask is 4 pixels of 40 at the 20th; now it was at the 4th: the arrow reaches there.
    assert columns.max() == pytest.approx(240, abs=4)
    assert columns.min() == pytest.approx(60, abs=4)
    along = new[150:171, 70:190].any(axis=0)
    assert along.mean() > 0.95


def test_objects_in_space_are_arrows_and_go_with_them(scene: Scene):
    kept = scene.listen(MarkerArray, "foresight/markers")

    def in_newest(ns: str) -> list[Marker]:
        return [m for m in kept[-1].markers if m.ns == ns and m.action == Marker.ADD]

    scene.play_until(kept, lambda: bool(in_newest("object_arrows")), objects=True)
    (arrow,), (name,) = in_newest("object_arrows"), in_newest("object_names")
    assert [(p.x, p.z) for p in arrow.points] == [(-2.0, 9.0), (0.0, 8.0)]
    assert (arrow.header.frame_id, name.text) == (header_at(0).frame_id, "b 7")

    def drawn() -> dict[str, int]:
        return {m.ns: m.action for one in kept for m in one.markers if m.ns.startswith("object_")}

    scene.play_until(kept, lambda: set(drawn().values()) == {Marker.DELETE})
    assert drawn() == {"object_arrows": Marker.DELETE, "object_names": Marker.DELETE}


def test_alpha_changes_while_the_node_runs(scene: Scene):
    kept = scene.listen(Image, "foresight/step_1/image_color")
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1.0)
    request = SetParameters.Request(parameters=[Parameter(name="alpha", value=value)])
    answer = scene.client.call(SetParameters, "overlay_node/set_parameters", request)
    assert answer.results[0].successful
    scene.play(kept)
    np.testing.assert_array_equal(as_rgb(kept[-1])[200, 300], PALETTE[1])
    value.double_value = 1.5
    answer = scene.client.call(SetParameters, "overlay_node/set_parameters", request)
    assert not answer.results[0].successful
    assert "0 to 1" in answer.results[0].reason
    value.double_value = 0.5
    scene.client.call(SetParameters, "overlay_node/set_parameters", request)


def test_untrained_forecasts_say_so(scene: Scene):
    kept = scene.listen(Image, "foresight/step_1/image_color")
    scene.play(kept, trained=False)
    assert (as_rgb(kept[-1])[2] == (255, 193, 7)).all(-1).mean() > 0.9


def test_clouds_are_metric_points_in_the_optical_frame(scene: Scene):
    kept = scene.listen(PointCloud2, "foresight/step_1/points")
    stamp_ns = scene.play(kept)
    cloud = kept[-1]
    assert cloud.header == header_at(stamp_ns)
    points = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 4)
    np.testing.assert_allclose(points[:, 2], 11.0)  # neither the unknown nor the far ones
    # Pixel (0, 2) of 40 x 24 is (0, 20) of 400 x 240, whose focal length is 300 px.
    assert points[:, 0].min() == pytest.approx((0 - 19.95) * 11 / 30, rel=1e-3)
    assert points[:, 1].min() == pytest.approx((2 - 11.95) * 11 / 30, rel=1e-3)


def test_relative_depth_gives_no_cloud_and_says_why(scene: Scene):
    clouds = scene.client.subscribe(PointCloud2, "foresight/step_1/points")
    markers = scene.listen(MarkerArray, "foresight/markers")
    for _ in range(3):
        scene.play(markers, metric=False)
    assert not clouds
    assert scene.client.spin_until(lambda: "no metric depth" in scene.node.text)


def test_an_uncalibrated_camera_costs_the_clouds_only(scene: Scene):
    clouds = scene.client.subscribe(PointCloud2, "foresight/step_1/points")
    overlays = scene.listen(Image, "foresight/step_1/image_color")
    scene.calibration |= {"k": [0.0] * 9, "p": [0.0] * 12}
    scene.play(overlays)
    clouds.clear()
    for _ in range(3):
        scene.play(overlays)
    assert not clouds
    assert scene.node.text.count("no point cloud: camera_info has no focal length") == 1


def test_a_camera_info_without_a_size_does_not_end_the_node(scene: Scene):
    """Before the first picture too, with which its size could be compared."""
    scene.client.subscribe(PointCloud2, "foresight/step_1/points")
    markers = scene.listen(MarkerArray, "foresight/markers")

    def is_told() -> bool:
        Scene.now_ns += 200_000_000
        scene.info.publish(CameraInfo())
        scene.client.spin_for(0.1)
        scene.forecasts.publish(forecast(scene.now_ns))
        return scene.client.spin_until(lambda: "has no image size" in scene.node.text, 0.5)

    assert scene.client.spin_until(is_told)
    assert scene.node.text.count("no point cloud: camera_info has no image size") == 1
    scene.play(markers)


def test_malformed_labels_are_told_and_change_nothing(scene: Scene):
    kept = scene.listen(Image, "foresight/step_2/image_color")
    told = "labels ignored: labels have 2 class names but 4 palette values; 6 are needed"

    def is_told() -> bool:
        scene.labels.publish(Labels(names=["a", "b"], palette=[1, 2, 3, 4], unlabelled=255))
        return scene.client.spin_until(lambda: told in scene.node.text, 0.2)

    assert scene.client.spin_until(is_told)
    scene.play(kept)
    mixed = PALETTE[2] * 0.5 + picture(scene.now_ns, SIZE)[200, 300] * 0.5
    np.testing.assert_allclose(as_rgb(kept[-1])[200, 300], mixed, atol=1)
    assert scene.node.text.count("labels ignored") == 1


def test_a_broken_step_leaves_the_others_alone(scene: Scene):
    kept = scene.listen(Image, "foresight/step_2/image_color")
    scene.play(kept)
    drawn = len(kept)
    broken = forecast(scene.now_ns)
    broken.steps[0].depth.step = 3
    scene.forecasts.publish(broken)
    assert scene.client.spin_until(lambda: len(kept) > drawn), scene.node.text
    assert "step 1 not drawn: depth of 40x24" in scene.node.text


def test_the_picture_of_now_is_the_one_that_was_forecast_from(scene: Scene):
    kept = scene.listen(Image, "foresight/step_0/image_color")
    stamp_ns = scene.play(kept)
    np.testing.assert_array_equal(as_rgb(kept[-1]), picture(stamp_ns, SIZE))


@pytest.mark.parametrize("metric", [True, False])
def test_depth_is_coloured_near_bright_whatever_the_head(scene: Scene, metric: bool):
    kept = scene.listen(Image, "foresight/step_1/depth_color")
    stamp_ns = scene.play(kept, metric=metric)
    drawn = as_rgb(kept[-1])
    assert kept[-1].header == header_at(stamp_ns)
    assert drawn.shape[:2] == SMALL
    assert not drawn[0].any()  # unknown
    # Row 1 has 500, the others 11: far as metres, near as inverse depth.
    bright = drawn.astype(int).sum(2)
    assert ((bright[1] < bright[2]) if metric else (bright[1] > bright[2])).all()
    assert (bright[1:] > 0).all()


def test_markers_tell_step_and_horizon(scene: Scene):
    kept = scene.listen(MarkerArray, "foresight/markers")
    scene.play(kept)
    texts = [marker.text for marker in kept[-1].markers if marker.action == Marker.ADD]
    assert texts == ["step 1 t+0.20 s", "step 2 t+0.40 s"]  # an age of years is no age
    assert {marker.header.frame_id for marker in kept[-1].markers} == {"cam"}


def test_the_mosaic_has_columns_for_now_and_each_step(scene: Scene):
    kept = scene.listen(Image, "foresight/mosaic/image_color")
    scene.play(kept)
    drawn = as_rgb(kept[-1])
    assert drawn.shape[1] == 1280
    assert drawn.shape[0] > 400


def test_nothing_is_listened_to_when_nobody_looks(scene: Scene):
    kept = scene.listen(MarkerArray, "foresight/markers")
    scene.play(kept)
    scene.client.unsubscribe()
    assert scene.client.spin_until(
        lambda: (
            not scene.forecasts.get_subscription_count()
            and not scene.client.images.get_subscription_count()
        )
    )


def test_a_forecast_without_its_picture_is_told(scene: Scene, tmp_path: Path):
    scene.listen(Image, "foresight/step_1/image_color")
    scene.now_ns += 3_600_000_000_000
    told = "no picture on /image with the forecast's time stamp"

    def is_told() -> bool:
        scene.forecasts.publish(forecast(scene.now_ns))
        return scene.client.spin_until(lambda: told in scene.node.text, 0.2)

    assert scene.client.spin_until(is_told)
