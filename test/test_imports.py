"""What rooms may not import, in one new process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import importlib, pkgutil, sys

ROOMS = [f"dino_foresight_ros.{room}" for room in ("training", "model", "runtime", "ros")]

def imported(*names):
    return [name for name in names if name in sys.modules]

import dino_foresight_ros.compare
assert not imported("torch", "rclpy", "cv2", *ROOMS)
import dino_foresight_ros.render
assert not imported("torch", "rclpy", "rosbags", *ROOMS)
import dino_foresight_ros.recordings as recordings
for module in pkgutil.walk_packages(recordings.__path__, recordings.__name__ + "."):
    importlib.import_module(module.name)
assert not imported("torch", "rclpy", "sensor_msgs", *ROOMS)
# The command line, and everything that --help shows.
from dino_foresight_ros.cli.main import build_parser
build_parser()
assert not imported("torch", "rclpy")
# `foresight train pixels`, whose processes only write pictures.
import dino_foresight_ros.training.pixel_writer
assert not imported("torch", "rclpy")
# Without ROS at all: these raise where anybody imports them.
import dino_foresight_ros.model, dino_foresight_ros.runtime
# The compiler takes as long as torch itself, and comes when something is compiled.
print(imported("rclpy", "sensor_msgs", "torch._dynamo", "torch._inductor"))
import torch
assert torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)) == 2
from torchvision.ops.roi_align import is_compile_supported
assert is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
print("torch._dynamo.eval_frame" in sys.modules)
"""


@pytest.mark.process
def test_rooms_import_no_more_than_they_may(tmp_path: Path) -> None:
    for name in ("rclpy", "sensor_msgs", "std_msgs", "builtin_interfaces"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('no ROS here')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    words = [sys.executable, "-c", CODE]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["[]", "True"], done.stderr
