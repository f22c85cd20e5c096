"""forecast.launch.py, run by the real launch system where it is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("launch", reason="needs ros2/launch, which no package index has")
pytest.importorskip("launch_ros", reason="needs ros2/launch_ros, which no package index has")

ARGUMENTS = {
    "bundle",
    "device",
    "image",
    "image_transport",
    "camera_info",
    "namespace",
    "params_file",
    "use_sim_time",
    "log_level",
}
# Runs a launch file as `ros2 launch` does: argv is its path, then name:=value arguments.
RUNNER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(a.split(":=", 1)) for a in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService(noninteractive=True)
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)]))
sys.exit(service.run())
"""


@pytest.fixture(scope="module")
def launch_file(project_root: Path) -> Path:
    return project_root / "launch" / "forecast.launch.py"


@pytest.fixture(scope="module")
def module(launch_file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("forecast_launch", launch_file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_every_argument_is_declared_and_described(module: Any) -> None:
    arguments = module.generate_launch_description().get_launch_arguments()
    assert {argument.name for argument in arguments} == ARGUMENTS
    for argument in arguments:
        assert len(argument.description) > 15, argument.name
        assert argument.default_value is not None, argument.name


def run_launch(launch_file: Path, environment: dict[str, str], *arguments: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(launch_file), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_all(running: subprocess.Popen[str]) -> None:
    """End the launch system and, should it have left it behind, its node."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_launched_node_listens_in_its_namespace_and_ends_on_sigint(
    launch_file: Path, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    environment = {**ros_domain, "ROS_LOG_DIR": str(tmp_path)}
    running = run_launch(
        launch_file, environment, "namespace:=robot1", "image:=camera/image_raw", "device:=cpu"
    )
    lines: list[str] = []
    try:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if "active: listening" in line:
                break
        else:
            pytest.fail("".join(lines))
        assert "listening on /robot1/camera/image_raw (Image)" in lines[-1]
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=20)
        assert running.returncode == 0, rest
        assert "process has finished cleanly" in rest
        assert "Traceback" not in rest
    finally:
        kill_all(running)


def test_arguments_reach_the_node_over_the_parameter_file(
    launch_file: Path, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "my.yaml"
    # Wrong values on purpose: the node names them at once.
    file.write_text("/**:\n  ros__parameters:\n    device: of_file\n")
    environment = {**ros_domain, "ROS_LOG_DIR": str(tmp_path)}
    for arguments, named in ([], "'of_file'"), (["device:=of_argument"], "'of_argument'"):
        running = run_launch(launch_file, environment, f"params_file:={file}", *arguments)
        try:
            text, _ = running.communicate(timeout=60)
        finally:
            kill_all(running)
        assert f"device: {named} is unknown; valid: auto, cpu, cuda" in text
        assert "exit code 2" in text
