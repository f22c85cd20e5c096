"""What no node can start with ends it with one line and an exit code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from dino_foresight_ros.nodes.forecast import node as forecast_node
from dino_foresight_ros.nodes.monitor import node as monitor_node
from dino_foresight_ros.nodes.obstacle import node as obstacle_node
from dino_foresight_ros.nodes.plan import node as plan_node
from dino_foresight_ros.nodes.replay import node as replay_node
from dino_foresight_ros.nodes.synthetic_camera import node as synthetic_camera_node

NODES = {
    "forecast": forecast_node.main,
    "monitor": monitor_node.main,
    "obstacle": obstacle_node.main,
    "plan": plan_node.main,
    "replay": replay_node.main,
    "synthetic_camera": synthetic_camera_node.main,
}
OVERRIDE = "qos_overrides./image.subscription"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures."""
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((24, 32, 3), np.uint8))
    return tmp_path


@pytest.mark.usefixtures("node_in_this_process")
@pytest.mark.parametrize(
    ("node", "parameters", "exit_code", "reason"),
    [
        ("forecast", ["bundle:=/no/such/bundle"], 1, "/no/such/bundle is not a bundle"),
        ("forecast", ["steps:=99"], 2, "steps: 99 is out of range; valid: 1 to 16"),
        ("forecast", [f"{OVERRIDE}.colour:=1"], 2, "policy 'colour' is unknown; valid: "),
        ("replay", [], 2, "parameter input: set it to a video"),
        ("replay", ["input:=/nowhere/a.mp4"], 1, "/nowhere/a.mp4 does not exist"),
        ("replay", ["input:={folder}", "rate:=fast"], 2, "rate"),
        ("replay", ["input:={folder}", "as_recorded:=true"], 2, "is not a rosbag2"),
        ("replay", ["input:={folder}", "start_s:=99.0"], 1, "no frame from 99 s"),
        ("monitor", ["tolerance:=0.6"], 2, "tolerance: 0.6 is out of range; valid: 0 to 0.49"),
        ("forecast", ["footprint:=[0.0, 0.0, 1.0, 0.0, 2.0, 0.0]"], 2, "footprint has no area"),
        ("obstacle", ["footprint:=[0.0, 0.0, 1.0, 0.0, 2.0, 0.0]"], 2, "footprint has no area"),
        ("obstacle", ["footprint:=[0.0, 0.0, 1.0]"], 2, "an odd count of numbers"),
        ("obstacle", ["grid_resolution_m:=0.001"], 2, "20000x20000 cells; at most 4000 a side"),
        ("obstacle", ["max_height_m:=0.1"], 2, "0.1 is not above min_height_m, which is 0.15"),
        ("obstacle", ["camera_mounts:=[0.0, 1.0]"], 2, "camera_mounts: 2 numbers; valid: six"),
        ("obstacle", ["camera_pose:=[0.0]"], 2, "parameter camera_pose is now camera_mounts"),
        ("obstacle", ["camera_topic:=image"], 2, "'image' lacks {camera}"),
        ("plan", ["candidates:=3"], 2, "candidates: 3 is out of range; valid: 4 to 256"),
        ("plan", ["max_speed_mps:=0.0"], 2, "max_speed_mps: 0.0 is out of range; valid: 0.05 to"),
        ("plan", ["horizons_s:=[1.0, 0.5]"], 2, "horizons 1, 0.5 s must rise"),
        ("synthetic_camera", ["scene:=moon"], 2, "'moon' is unknown; valid: any, urban, suburban"),
    ],
)
def test_bad_start_is_one_line_and_an_exit_code(
    node: str,
    parameters: list[str],
    exit_code: int,
    reason: str,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = [w for p in parameters for w in ("-p", p.replace("{folder}", str(folder)))]
    assert NODES[node](["--ros-args", *words]) == exit_code
    said = capfd.readouterr()
    usual = ("[INFO]", "[WARN]")
    lines = [li for li in (said.out + said.err).splitlines() if not li.startswith(usual)]
    assert len(lines) == 1, lines
    assert reason in lines[0]
