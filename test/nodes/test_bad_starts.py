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
from dino_foresight_ros.nodes.replay import node as replay_node
from dino_foresight_ros.nodes.synthetic_camera import node as synthetic_camera_node

NODES = {
    "forecast": forecast_node.main,
    "monitor": monitor_node.main,
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
