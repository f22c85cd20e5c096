"""The parameter files of config/, each read by a real forecast node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from dino_foresight_ros.nodes.forecast.node import ForecastNode

PRESETS = ("tiny-cpu", "base-lowres", "base-highres", "six-cameras")
# The published bundles and a GPU are not everywhere.
STAND_INS = ["-p", "bundle:=untrained-tiny", "-p", "device:=cpu"]


@pytest.fixture
def config_dir(project_root: Path) -> Path:
    return project_root / "config"


@pytest.fixture
def start(ros_domain: dict[str, str]) -> Iterator[Any]:
    """Return a function that makes a node from a parameter file and more arguments."""
    made: list[ForecastNode] = []

    def start(file: Path, *arguments: str) -> ForecastNode:
        rclpy.init(args=["--ros-args", "--params-file", str(file), *arguments])
        made.append(ForecastNode())
        return made[0]

    yield start
    for node in made:
        node.destroy_node()
    rclpy.try_shutdown()


def read(file: Path) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load(file.read_text())["/**"]["ros__parameters"]
    return parameters


def test_there_is_a_file_for_every_preset(config_dir: Path) -> None:
    nodes = {"forecast", "monitor", "obstacle", "plan"}
    assert {file.stem for file in config_dir.glob("*.yaml")} == {*PRESETS, *nodes}


@pytest.mark.parametrize("name", [*PRESETS, "forecast"])
def test_file_is_taken_without_a_complaint(
    config_dir: Path, start: Any, name: str, capfd: Any
) -> None:
    file = config_dir / f"{name}.yaml"
    node = start(file)
    for parameter, value in read(file).items():
        assert node.parameters[parameter] == value, parameter
    assert "[WARN]" not in capfd.readouterr().err


@pytest.mark.parametrize("name", PRESETS)
def test_node_becomes_active_with_a_stand_in_bundle(
    config_dir: Path, start: Any, name: str, capfd: Any
) -> None:
    node = start(config_dir / f"{name}.yaml", *STAND_INS)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    said = capfd.readouterr().err
    assert "[ERROR]" not in said
    listening = [line for line in said.splitlines() if "active: listening on" in line]
    cameras = read(config_dir / f"{name}.yaml").get("cameras", [])
    assert len(cameras) == (6 if name == "six-cameras" else 0)
    topics = [f"/{camera}/image_rect/compressed (CompressedImage)" for camera in cameras]
    assert len(listening) == max(len(cameras), 1)
    for topic in topics or ["/image (Image)"]:
        assert any(line.endswith(f"listening on {topic}") for line in listening), topic
