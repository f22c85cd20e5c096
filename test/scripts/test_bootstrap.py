"""Real environments from nothing, in a fresh clone: minutes and 6 GB each, `make test-env` only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.bootstrap

WORKS = """
import cv2, rclpy, timm, torch, torchvision
from dino_foresight_ros.msg import Forecast
rclpy.init()
node = rclpy.create_node("probe")
node.create_publisher(Forecast, "forecast", 1).publish(Forecast(model_name="x"))
print("works")
"""


@pytest.fixture
def clone(project_root: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a fresh clone under a path with spaces, removed at the end."""
    path = tmp_path / "fresh clone" / "of the project"
    subprocess.run(["git", "clone", "--quiet", project_root, path], check=True)
    yield path
    shutil.rmtree(path)


def start(clone: Path, **env: str) -> subprocess.Popen[str]:
    """Start with_env as a user's shell would, without what the outer with_env set."""
    drop = ("FORESIGHT_ENV", "PYTHONPATH", "VIRTUAL_ENV", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    return subprocess.Popen(
        [clone / "scripts" / "with_env", "python", "-c", WORKS],
        env={**kept, **env},
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def find_python(version: str) -> str:
    """Return a Python of this version: from PATH, or one that pyenv keeps."""
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    candidates = [f"python{version}", *map(str, kept.glob(f"{version}.*/bin/python3"))]
    for python in candidates:
        # pyenv's stand-ins on PATH fail for versions that are not switched on.
        if (
            shutil.which(python)
            and not subprocess.run([python, "-V"], capture_output=True).returncode
        ):
            return python
    pytest.skip(f"no Python {version} here")


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_fresh_clone_works_with_this_python(clone: Path, version: str) -> None:
    python = find_python(version)
    begin = time.monotonic()
    process = start(clone, FORESIGHT_PYTHON=python)
    out, err = process.communicate(timeout=600)
    assert out == "works\n", err
    assert time.monotonic() - begin < 240
    begin = time.monotonic()
    assert start(clone, FORESIGHT_PYTHON=python).communicate()[0] == "works\n"
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
@pytest.mark.parametrize("delay_s", [0.1, 3.0])
def test_preparation_killed_in_this_stage_is_completed(
    clone: Path, stage: int, delay_s: float
) -> None:
    process = start(clone)
    assert process.stderr is not None
    if not any(line.startswith(f"[{stage}/4]") for line in process.stderr):
        pytest.skip(f"stage {stage} has nothing to do on this machine")
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    out, err = start(clone).communicate(timeout=600)
    assert out == "works\n", err
