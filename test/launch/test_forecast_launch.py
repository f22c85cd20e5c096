"""forecast.launch.py, run by the real launch system where it is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("launch", reason="needs ros2/launch, which no package index has")
pytest.importorskip("launch_ros", reason="needs ros2/launch_ros, which no package index has")

from forecast_peers import Client
from launch_processes import kill_all, run_launch
from rcl_interfaces.srv import GetParameters

ARGUMENTS = {
    "preset",
    "params_file",
    "bundle",
    "device",
    "image",
    "image_transport",
    "camera_info",
    "cameras",
    "camera_topic",
    "horizons_s",
    "horizon_from",
    "samples",
    "namespace",
    "use_sim_time",
    "respawn",
    "log_level",
    "rviz",
    "fixed_frame",
    "rviz_view",
    "monitor",
    "monitor_params_file",
}


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


def read_until(running: subprocess.Popen[str], text: str, count: int = 1) -> list[str]:
    """Lines of the launch up to the count-th one with the text."""
    lines: list[str] = []
    assert running.stdout is not None
    for line in running.stdout:
        lines.append(line)
        count -= text in line
        if count == 0:
            return lines
    pytest.fail(f"no {text!r} in:\n{''.join(lines)}")


@pytest.fixture
def launch(launch_file: Path, ros_domain: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts the launch file with arguments."""
    started: list[subprocess.Popen[str]] = []

    def launch(*arguments: str) -> subprocess.Popen[str]:
        environment = {**ros_domain, "ROS_LOG_DIR": str(tmp_path / "log")}
        started.append(run_launch(launch_file, environment, *arguments))
        return started[-1]

    yield launch
    for running in started:
        kill_all(running)


def end_of(running: subprocess.Popen[str]) -> str:
    """What was printed until the launch ended by itself."""
    return running.communicate(timeout=120)[0]


def test_node_that_was_killed_is_started_again(launch: Any) -> None:
    running = launch("respawn:=true", "preset:=tiny-cpu", "rviz:=true")
    lines = read_until(running, "active: listening")
    assert any("rviz2 is not installed" in line for line in lines) or shutil.which("rviz2")
    started = next(line for line in lines if "forecast_node-" in line and "pid [" in line)
    os.kill(int(re.findall(r"pid \[(\d+)\]", started)[0]), signal.SIGKILL)
    lines = read_until(running, "active: listening")
    assert any("exit code -9" in line for line in lines)
    running.send_signal(signal.SIGINT)
    assert "process has finished cleanly" in end_of(running)


def test_preset_reaches_the_node(launch: Any) -> None:
    text = end_of(launch("preset:=base-lowres", "device:=cpu"))
    # A bundle that is not there is named, which shows where the node got it from.
    assert "cannot configure: bundles/dino-foresight-lowres is not a bundle" in text
    assert "exit code 1" in text
    assert "Traceback" not in text


def test_horizons_reach_the_node(launch: Any) -> None:
    text = end_of(launch("horizons_s:=0.4,0.3", "samples:=1"))
    assert "parameter horizons_s: horizons 0.4, 0.3 s must rise, without repetition" in text
    assert "exit code 2" in text


def test_params_file_goes_over_the_preset(module: Any, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.touch()
    paths = [Path(path) for path in module.parameter_files("six-cameras", str(file))]
    assert [path.name for path in paths] == ["forecast.yaml", "six-cameras.yaml", "my.yaml"]
    assert all(path.is_file() for path in paths)


def test_several_cameras_are_listened_to(launch: Any) -> None:
    running = launch("preset:=tiny-cpu", "cameras:=left,right", "camera_topic:={camera}/image_raw")
    said = "".join(read_until(running, "active: listening", 2))
    assert "listening on /left/image_raw (Image)" in said
    assert "listening on /right/image_raw (Image)" in said


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("preset:=huge", "Valid options are: ['', 'tiny-cpu', 'base-lowres'"),
        ("params_file:=/nowhere.yaml", "params_file /nowhere.yaml does not exist"),
        ("log_level:=loud", "Valid options are: ['debug', 'info'"),
        ("horizons_s:=soon", "horizons_s 'soon' are not numbers with commas between"),
    ],
)
def test_bad_argument_ends_the_launch_with_the_reason(
    launch: Any, argument: str, reason: str
) -> None:
    running = launch(argument)
    text = end_of(running)
    assert reason in text
    assert "process started" not in text
    assert "Traceback" not in text
    assert running.returncode == 1


def test_monitor_gets_the_cameras_and_its_file_and_the_forecasts_their_features(
    launch: Any, tmp_path: Path
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("/**:\n  ros__parameters:\n    window: 7\n")
    running = launch(
        "monitor:=true",
        f"monitor_params_file:={file}",
        "preset:=tiny-cpu",
        "cameras:=left,right",
        "camera_topic:={camera}/image_raw",
        "namespace:=car",
    )
    lines = read_until(running, "active: listening", 2)
    said = next(line for line in lines if "monitor_node" in line and "listening on" in line)
    assert "/car/left/foresight/forecast, /car/right/foresight/forecast" in said
    client = Client("launch_client", namespace="/car")
    try:
        for node, name, kind, value in (
            ("monitor_node", "window", "integer_value", 7),
            ("forecast_node", "publish_features", "bool_value", True),
        ):
            answer = client.call(
                GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name])
            )
            assert getattr(answer.values[0], kind) == value, name
    finally:
        client.close()
    running.send_signal(signal.SIGINT)
    assert end_of(running).count("process has finished cleanly") == 2


def test_a_parameter_file_of_the_monitor_that_is_not_there_ends_the_launch(launch: Any) -> None:
    running = launch("monitor:=true", "monitor_params_file:=/nowhere.yaml")
    text = end_of(running)
    assert "monitor_params_file /nowhere.yaml does not exist" in text
    assert "process started" not in text


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
        rest, _ = running.communicate(timeout=60)
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
            text, _ = running.communicate(timeout=120)
        finally:
            kill_all(running)
        assert f"device: {named} is unknown; valid: auto, cpu, cuda" in text
        assert "exit code 2" in text
