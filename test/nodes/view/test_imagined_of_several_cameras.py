"""A planner's imagined views beside one of several cameras of a forecast_node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from optional import NEEDS_RERUN

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from forecast_peers import header_at
from ros_bench import Bench
from sensor_msgs.msg import Image

from dino_foresight_ros.nodes.view.camera_display import CameraDisplay
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.view.blueprint import ShownCamera

pytestmark = NEEDS_RERUN

PICTURE = np.full((30, 64, 3), (200, 100, 50), np.uint8)


def source(camera: str, namespace: str = "/robot1") -> ForecastSource:
    lead = f"{namespace}/{camera}".rstrip("/")
    return ForecastSource(
        camera, f"{lead}/foresight", f"{lead}/image", f"{lead}/camera_info", False, "/node"
    )


@pytest.mark.parametrize("camera", ["", "front", "rig/front"])
@pytest.mark.parametrize("namespace", ["", "/robot1", "/front"])
def test_what_all_cameras_share_lies_in_the_nodes_namespace(camera: str, namespace: str) -> None:
    assert source(camera, namespace).shared_folder == f"{namespace}/foresight"


@pytest.fixture
def bench(ros_domain: dict[str, str]) -> Iterator[Bench]:
    bench = Bench(int(ros_domain["ROS_DOMAIN_ID"]))
    yield bench
    bench.close()


def test_imagined_views_are_shown_once_beside_the_first_camera(bench: Bench) -> None:
    viewer, planner = bench.make("viewer"), bench.make("planner")
    imagined = planner.create_publisher(Image, "/robot1/foresight/imagined/image_color", 1)
    shown: dict[str, list[Any]] = {}

    def display(name: str, *others: str) -> CameraDisplay:
        pictures = shown.setdefault(name, [])
        scene = mock.Mock(root=name, add_imagined=lambda _, picture: pictures.append(picture))
        parameters: Any = {"max_rate_hz": 0.0}
        is_first = source(name).is_first_beside(source(other) for other in others)
        return CameraDisplay(viewer, source(name), scene, parameters, lambda: None, is_first)

    cameras = [display("front"), display("rear", "front")]

    def follow() -> bool:
        for camera in cameras:
            camera.follow()
        return imagined.get_subscription_count() > 0

    assert bench.spin_until(follow)
    imagined.publish(image_to_msg(PICTURE, "rgb8", header_at(1)))
    assert bench.spin_until(lambda: bool(shown["front"]))
    np.testing.assert_array_equal(shown["front"][0], PICTURE)
    assert not shown["rear"]
    assert imagined.get_subscription_count() == 1
    found: list[ShownCamera] = [camera.shown for camera in cameras]
    assert [one.has_imagined for one in found] == [True, False]
