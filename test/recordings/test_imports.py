"""What recordings may not import."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.process
def test_recordings_need_neither_torch_nor_ros_nor_training() -> None:
    code = """
import importlib, pkgutil, sys
import dino_foresight_ros.recordings as recordings
for module in pkgutil.walk_packages(recordings.__path__, recordings.__name__ + "."):
    importlib.import_module(module.name)
others = ("torch", "rclpy", "sensor_msgs", *(
    f"dino_foresight_ros.{room}" for room in ("training", "model", "runtime", "ros", "compare")
))
print([name for name in others if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
