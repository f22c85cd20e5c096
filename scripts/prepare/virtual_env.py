"""The stage that creates the virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from layout import Layout, clean_environment, digest
from pip_settings import uv_environment
from progress import ToolError, run_logged
from tools import check_disk, explain, require_uv

NEEDED_BYTES = 7e9


def key(layout: Layout) -> str:
    """Return what the virtual environment depends on: its place and its base Python."""
    kind = "sourced ROS" if layout.sourced_ros else "ROS wheels"
    base = os.path.realpath(sys.executable)
    return digest(str(layout.root), str(layout.env), base, sys.version, kind)


def starts(layout: Layout) -> bool:
    """Tell whether the virtual environment's Python starts."""
    env = {**clean_environment(), "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    command: list[str | Path] = [layout.python, "-I", "-c", "import sysconfig"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, env=env).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def is_ready(layout: Layout) -> bool:
    """Tell whether the virtual environment is there, belongs here and runs."""
    stamped = layout.is_stamped("venv", key(layout))
    return stamped and layout.site_packages.is_dir() and starts(layout)


def run(layout: Layout) -> None:
    """Create the virtual environment afresh: its scripts and settings carry absolute paths."""
    layout.unstamp("venv", "packages", "messages")
    for folder in (layout.venv, layout.build, layout.install):
        shutil.rmtree(folder, ignore_errors=True)
    check_disk(layout.env, NEEDED_BYTES)
    command: list[str | Path] = [
        require_uv(layout),
        "venv",
        "--no-project",
        "--python",
        sys.executable,
        layout.venv,
    ]
    if layout.sourced_ros:
        command.append("--system-site-packages")
    log, failure = layout.logs / "venv.log", "creating the virtual environment failed"
    try:
        run_logged(command, log, failure, uv_environment(), layout.env)
    except ToolError as error:
        raise explain(error) from error
    layout.stamp("venv", key(layout))
