"""Metric depth over DDS follows camera_info's focal length, and says what it assumes without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import Client, NodeProcess, picture, stamp_of, stream_until, values_of
from micro_bundle import make_micro_bundle
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dino_foresight_ros.model import DepthTask
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.ros.camera_info import camera_info_msg
from dino_foresight_ros.runtime import Foresight

pytestmark = pytest.mark.process
WIDTH, HEIGHT = 200, 120  # as the peer's pictures


def test_depth_follows_camera_info(ros_domain: dict[str, str], tmp_path: Path) -> None:
    bundle = make_micro_bundle()
    wide, narrow = (CameraModel.from_fov(WIDTH, HEIGHT, fov) for fov in (90.0, 50.0))
    depth = bundle.tasks["depth"]
    assert isinstance(depth, DepthTask)
    # Without classes there is no sky: every pixel may have a depth.
    heads, tasks = {"depth": bundle.heads["depth"]}, {"depth": replace(depth, focal=wide.focal)}
    bundle = replace(bundle, heads=heads, tasks=tasks, trained=True)
    folder = bundle.save(tmp_path / "bundle")
    parameters = (f"bundle:={folder}", "device:=cpu", "steps:=1", "stream_timeout_s:=60.0")
    running = NodeProcess(ros_domain, tmp_path / "log", *parameters)
    client, engine = Client(), Foresight(bundle, steps=1)

    def ratio(message: Image) -> float:
        """What was published over what the head says of the picture, as the canonical camera's."""
        z = engine.features(picture(stamp_of(message.header.stamp), (HEIGHT, WIDTH)))
        plain = engine.decoder.maps({"depth": (message.height, message.width)}, z[None])["depth"]
        values = np.frombuffer(message.data, np.float32) / plain.numpy().ravel()
        assert np.nanmax(values) == pytest.approx(np.nanmin(values), rel=1e-3)
        return float(np.nanmedian(values))

    try:
        client.wait_until_heard(running)
        diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
        images = client.subscribe(Image, "foresight/step_0/depth")
        infos = client.node.create_publisher(CameraInfo, "camera_info", 1)
        next_ns = 10**18

        def wait_with(info: CameraInfo | None, wanted: float, says: str) -> None:
            """Stream until depth is so many times the canonical camera's, and it is said why."""
            nonlocal next_ns

            def is_there() -> bool:
                if info is not None:
                    infos.publish(info)
                said = values_of(diagnostics[-1]).get("depth", "") if diagnostics else "nothing"
                return (
                    (says in said if says else not said)
                    and bool(images)
                    and (ratio(images[-1]) == pytest.approx(wanted, rel=1e-3))
                )

            next_ns = stream_until(client, next_ns, is_there)[-1] + 200_000_000

        assumed = "metric depth is that of a camera 90 degrees wide: "
        wait_with(None, 1.0, f"{assumed}no camera_info came on /camera_info")
        wait_with(camera_info_msg(narrow, Header()), narrow.focal / wide.focal, "")
        wait_with(camera_info_msg(wide.resized(60, 100), Header()), 1.0, "")
        other = camera_info_msg(CameraModel.from_fov(100, 20, 50.0), Header())
        wait_with(other, 1.0, f"{assumed}camera_info is for images of 100x20, but they are 200x120")
        uncalibrated = CameraInfo(width=WIDTH, height=HEIGHT)
        wait_with(uncalibrated, 1.0, "camera_info has no focal length")
        # Each reason once, however many forecasts went by it.
        reasons = ("no camera_info came", "camera_info is for images", "camera_info has no focal")
        counts = [running.text.count(f"{assumed}{reason}") for reason in reasons]
        assert counts == [1, 1, 1], running.text
        assert running.end() == 0, running.text
    finally:
        client.close()
        running.kill()
