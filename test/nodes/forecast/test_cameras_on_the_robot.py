"""Several cameras of one robot: what forecast_node tells of the motion, and imagines, of each."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from forecast_peers import header_at
from geometry_msgs.msg import Twist, Vector3
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from ros_bench import close_node, wait_until
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.msg import Candidate
from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.srv import Imagine

TWIST = (2.0, 0.0, 0.4)
MOUNTS = [k for yaw_deg in (0.0, 180.0, 90.0) for k in (0.5, 0.0, 1.4, 0.0, 5.0, yaw_deg)]


def start(node: ForecastNode) -> None:
    for transition in (node.trigger_configure, node.trigger_activate):
        assert transition() is TransitionCallbackReturn.SUCCESS


def stop(node: ForecastNode) -> None:
    for transition in (node.trigger_deactivate, node.trigger_cleanup):
        assert transition() is TransitionCallbackReturn.SUCCESS


@pytest.fixture(scope="module")
def node(
    ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForecastNode]:
    """An active one of four cameras, of the last of which nobody says where it is."""
    config = WorldConfig(channels=30, width=24, layers=1, heads=2, rope=(4, 4, 4), motion="blocks")
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    bundle = replace(make_micro_bundle(), forecaster=forecaster)
    path = bundle.save(tmp_path_factory.mktemp("bundle") / "world")
    given = (f"bundle:={path}", "device:=cpu", "autostart:=false", "horizons_s:=[0.5, 1.0]",
             "cameras:=[front, aft, left, roof]", f"camera_mounts:={MOUNTS}")  # fmt: skip
    words = [word for one in given for word in ("-p", one)]
    rclpy.init(args=["--ros-args", *words])
    found = ForecastNode()
    start(found)
    yield found
    stop(found)
    close_node(found)
    rclpy.try_shutdown()


def told(node: ForecastNode, camera: str, stamp_ns: int) -> np.ndarray:
    """The motion (S, 3) that the forecaster is told of a frame of one camera."""
    message = Odometry(header=header_at(stamp_ns), child_frame_id="base_link")
    message.header.frame_id = "odom"
    message.pose.pose.orientation.w = 1.0
    message.twist.twist = Twist(linear=Vector3(x=TWIST[0]), angular=Vector3(z=TWIST[2]))
    node.motion.on_odometry(message)
    pipeline, frames = node.pipeline, list[QueuedFrame]()
    assert pipeline is not None
    picture = image_to_msg(np.zeros((56, 84, 3), np.uint8), "rgb8", header_at(stamp_ns))
    with mock.patch.object(pipeline.scheduler, "submit", frames.append):
        pipeline.receive(pipeline.cameras[camera], picture)
    assert frames[0].motion is not None
    rows = frames[0].motion()
    assert rows is not None
    return np.array(rows)


def test_motion_is_told_in_axes_turned_to_where_each_camera_looks(
    node: ForecastNode, capfd: pytest.CaptureFixture[str]
):
    now_ns = time.time_ns()
    base = of_twist(np.array(TWIST), [0.5, 1.0])
    x, y, yaw = base.T
    expected = {"front": (x, y, yaw), "aft": (-x, -y, yaw), "left": (y, -x, yaw)}
    for camera, columns in expected.items():
        np.testing.assert_allclose(told(node, camera, now_ns), np.stack(columns, 1), atol=1e-9)
    assert "roof" not in capfd.readouterr().err
    for _ in range(2):  # as if it looked ahead, which is said once
        np.testing.assert_allclose(told(node, "roof", now_ns), base, atol=1e-9)
    said = [line for line in capfd.readouterr().err.splitlines() if "roof" in line]
    assert len(said) == 1
    assert "where it looks is not known" in said[0]
    assert "camera_mounts" in said[0]


class Peer:
    """Publishes pictures and calibrations of some cameras, and asks for what is imagined."""

    def __init__(self, node: ForecastNode, *cameras: str) -> None:
        self.node, self.cameras = node, cameras
        self.peer = Node("peer", use_global_arguments=False)
        self.executor = SingleThreadedExecutor()
        for each in (node, self.peer):
            self.executor.add_node(each)
        self.client = self.peer.create_client(Imagine, "foresight/imagine")

        def publisher(kind: type, topic: str) -> Any:
            return self.peer.create_publisher(kind, topic, qos_profile_sensor_data)

        assert node.pipeline is not None
        names = [node.pipeline.cameras[camera].names for camera in cameras]
        self.images = [publisher(Image, name.image) for name in names]
        self.infos = [publisher(CameraInfo, name.camera_info) for name in names]
        self.now_ns = time.time_ns()

    def publish(self) -> None:
        """A frame and a calibration of each camera, all of one instant."""
        self.now_ns += 200_000_000
        k = [80.0, 0.0, 41.5, 0.0, 80.0, 27.5, 0.0, 0.0, 1.0]
        info = CameraInfo(width=84, height=56, k=k)
        for camera, images, infos in zip(self.cameras, self.images, self.infos, strict=True):
            infos.publish(info)
            header = header_at(self.now_ns)
            header.frame_id = f"{camera}_optical"
            noise = np.random.default_rng(self.now_ns).integers(0, 255, (56, 84, 3), np.uint8)
            images.publish(image_to_msg(noise, "rgb8", header))

    def ask(self) -> Imagine.Response:
        twist = Twist(linear=Vector3(x=1.0))
        request = Imagine.Request(candidates=[Candidate(twist=twist, duration=9.0)], maps=True)
        answer = self.client.call_async(request)
        self.executor.spin_until_future_complete(answer, timeout_sec=60)
        return answer.result()

    def is_answered_of(self, camera: str) -> bool:
        self.publish()
        for _ in range(8):
            self.executor.spin_once(timeout_sec=0.01)
        response = self.ask()
        return response.success and response.camera == camera


def test_maps_are_of_the_first_camera_that_takes_part_and_goals_of_the_first_of_all(
    node: ForecastNode, tmp_path: Path
):
    node.set_parameters([Parameter("stream_timeout_s", value=600.0)])
    peer = Peer(node, "aft", "left")
    try:
        assert peer.client.wait_for_service(timeout_sec=60)
        assert wait_until(lambda: peer.is_answered_of("aft"))
        response = peer.ask()
        assert response.success, response.message
        assert not response.goal_picture
        horizon = response.scores[0].horizons[0]
        assert horizon.segmentation.header.frame_id == "aft_optical"
        assert horizon.depth.header.frame_id == "aft_optical"
        cv2.imwrite(str(tmp_path / "goal.png"), np.full((56, 84, 3), 90, np.uint8))
        node.set_parameters([Parameter("goal_image", value=str(tmp_path / "goal.png"))])
        response = peer.ask()
        assert not response.success
        assert "the goal picture is of camera front, which takes no part" in response.message
    finally:
        peer.executor.remove_node(node)
        peer.executor.shutdown()
        close_node(peer.peer)

    # The features of the goal picture do not keep the model in memory.
    pipeline = weakref.ref(node.pipeline)
    stop(node)

    def is_gone() -> bool:  # a thread that answered may be at its end still
        gc.collect()
        return pipeline() is None

    assert wait_until(is_gone)
    node.set_parameters([Parameter("goal_image", value="")])
    start(node)
