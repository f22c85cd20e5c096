"""obstacle.launch.py and plan.launch.py, run by the real launch system where it is installed."""

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
from rcl_interfaces.srv import GetParameters


@pytest.mark.parametrize(
    ("name", "parameter", "value", "arguments", "heard", "told"),
    [
        (
            "obstacle",
            "steps",
            (3, 2),
            {"odom": "/wheel/odom", "image": "cam/image_rect", "grid_frame": "map"},
            {"/robot1/foresight/forecast", "/robot1/cam/camera_info", "/wheel/odom"},
            {f"/robot1/obstacles/{name}" for name in ("step_2/points", "swept", "range")},
        ),
        (
            "plan",
            "candidates",
            (32, 16),
            {"odom": "/wheel/odom", "goal_pose": "/goal_pose"},
            {"/robot1/foresight/labels", "/goal_pose", "/wheel/odom"},
            {f"/robot1/foresight/{name}" for name in ("best_path", "candidates")},
        ),
    ],
)
def test_the_node_hears_and_publishes_where_its_arguments_say(
    project_root: Path,
    ros_domain: dict[str, str],
    tmp_path: Path,
    name: str,
    parameter: str,
    value: tuple[int, int],
    arguments: dict[str, str],
    heard: set[str],
    told: set[str],
) -> None:
    file = tmp_path / "mine.yaml"
    text = (project_root / "config" / f"{name}.yaml").read_text()
    shipped, mine = (f"{parameter}: {number}" for number in value)
    assert shipped in text
    file.write_text(text.replace(shipped, mine))
    launched = run_launch(
        project_root / "launch" / f"{name}.launch.py",
        {**ros_domain, "ROS_LOG_DIR": str(tmp_path / "log")},
        "namespace:=robot1",
        *(f"{argument}:={topic}" for argument, topic in arguments.items()),
        f"params_file:={file}",
    )
    client = Client(f"{name}_launch_client")
    try:

        def is_there() -> bool:
            return all(map(client.node.count_subscribers, heard)) and all(
                map(client.node.count_publishers, told)
            )

        began = time.monotonic()
        while not is_there() and time.monotonic() < began + START_TIMEOUT_S:
            client.spin_until(is_there, 0.2)
        assert is_there()
        # The file given, not the package's.
        request = GetParameters.Request(names=[parameter])
        answer = client.call(GetParameters, f"/robot1/{name}_node/get_parameters", request)
        assert answer.values[0].integer_value == value[1]
        if "grid_frame" in arguments:
            request = GetParameters.Request(names=["grid_frame"])
            answer = client.call(GetParameters, f"/robot1/{name}_node/get_parameters", request)
            assert answer.values[0].string_value == arguments["grid_frame"]
        launched.send_signal(signal.SIGINT)
        printed = launched.communicate(timeout=START_TIMEOUT_S)[0]
        assert "process has finished cleanly" in printed, printed
    finally:
        client.close()
        kill_all(launched)
