"""What forecast_node tells its forecaster of the base's motion, by where each camera looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from forecast_peers import header_at
from geometry_msgs.msg import Twist, Vector3
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from ros_bench import close_node

from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.runtime.frame import QueuedFrame

TWIST = (2.0, 0.0, 0.4)
MOUNTS = [k for yaw_deg in (0.0, 180.0, 90.0) for k in (0.5, 0.0, 1.4, 0.0, 5.0, yaw_deg)]


@pytest.fixture(scope="module")
def node(ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
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
    assert found.trigger_configure() is TransitionCallbackReturn.SUCCESS
    assert found.trigger_activate() is TransitionCallbackReturn.SUCCESS
    yield found
    found.trigger_deactivate()
    found.trigger_cleanup()
    close_node(found)
    rclpy.try_shutdown()


def told(node: ForecastNode, camera: str, stamp_ns: int) -> np.ndarray:
    """The motion (S, 3) that the forecaster is told of a frame of one camera."""
    message = Odometry(header=header_at(stamp_ns), child_frame_id="base_link")
    message.header.frame_id = "odom"
    message.pose.pose.orientation.w = 1.0
    message.twist.twist = Twist(linear=Vector3(x=TWIST[0]), angular=Vector3(z=TWIST[2]))
    node._motion.on_odometry(message)
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
