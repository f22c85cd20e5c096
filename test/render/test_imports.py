from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.process
def test_pictures_need_neither_torch_nor_ros() -> None:
    code = (
        "import sys, dino_foresight_ros.render; "
        "print([m for m in ('torch', 'rclpy', 'rosbags') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
