"""obstacle.launch.py, run by the real launch system where it is installed."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("launch", reason="needs ros2/launch, which no package index has")
pytest.importorskip("launch_ros", reason="needs ros2/launch_ros, which no package index has")

from forecast_peers import START_TIMEOUT_S, Client
from launch_processes import kill_all, run_launch


def test_the_node_hears_and_publishes_where_its_arguments_say(
    project_root: Path, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    parameters = tmp_path / "mine.yaml"
    text = (project_root / "config" / "obstacle.yaml").read_text()
    assert "steps: 3" in text
    parameters.write_text(text.replace("steps: 3", "steps: 2"))
    launched = run_launch(
        project_root / "launch" / "obstacle.launch.py",
        {**ros_domain, "ROS_LOG_DIR": str(tmp_path / "log")},
        "namespace:=robot1",
        "odom:=/wheel/odom",
        "image:=cam/image_rect",
        f"params_file:={parameters}",
    )
    client = Client("obstacle_launch_client")
    try:
        heard = {"/robot1/foresight/forecast", "/robot1/cam/camera_info", "/wheel/odom"}
        told = {f"/robot1/obstacles/{name}" for name in ("step_2/points", "swept", "range")}

        def is_there() -> bool:
            return all(map(client.node.count_subscribers, heard)) and all(
                map(client.node.count_publishers, told)
            )

        began = time.monotonic()
        while not is_there() and time.monotonic() < began + START_TIMEOUT_S:
            client.spin_until(is_there, 0.2)
        assert is_there()
        # The file given, not the package's.
        assert not client.node.count_publishers("/robot1/obstacles/step_3/points")
        launched.send_signal(signal.SIGINT)
        printed = launched.communicate(timeout=START_TIMEOUT_S)[0]
        assert "process has finished cleanly" in printed, printed
    finally:
        client.close()
        kill_all(launched)
