"""The stage that installs Python packages and ROS wheels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import virtual_env
import wheels
from layout import Layout, clean_environment, digest
from pip_settings import uv_environment
from progress import PreparationError, ToolError, run_logged, say
from tools import explain, is_unreachable, require_uv


def wanted_requirements(layout: Layout) -> str:
    """Return the lines of the requirements to install.

    Beside a sourced ROS 2 installation its own packages are left to it, and so are NumPy and
    OpenCV: its cv_bridge is compiled against its own NumPy and breaks beside a newer one.
    """
    text = (layout.root / "scripts" / "requirements.txt").read_text(encoding="utf-8")
    if not layout.sourced_ros:
        return text
    left_out: tuple[str, ...] = ("#", "ros-")
    probe = [sys.executable, "-c", "import cv2, numpy"]
    if subprocess.run(probe, capture_output=True).returncode == 0:
        left_out += ("numpy==", "opencv-python")
    lines = [line for line in text.splitlines() if not line.startswith(left_out)]
    return "\n".join(lines) + "\n"


def key(layout: Layout) -> str:
    """Return what the installed packages depend on."""
    return digest(virtual_env.key(layout), wanted_requirements(layout))


def is_ready(layout: Layout) -> bool:
    """Tell whether everything was installed and is still whole."""
    stamped = layout.is_stamped("packages", key(layout))
    return stamped and not wheels.find_damaged(layout.site_packages)


def run(layout: Layout) -> None:
    """Install what is missing or damaged."""
    layout.unstamp("packages", "messages")
    damaged = wheels.find_damaged(layout.site_packages)
    if damaged:
        say(f"      repairing {', '.join(sorted(damaged))}")
        wheels.forget(layout.site_packages, damaged)
    install(layout)
    if not layout.sourced_ros:
        wheels.relocate(layout.venv, layout.site_packages)
    check_imports(layout)
    # Made now, because with_env takes a new entry for a reason to check the environment.
    (layout.site_packages / "__pycache__").mkdir(exist_ok=True)
    layout.stamp("packages", key(layout))


def install(layout: Layout) -> None:
    """Install exactly the wanted requirements, without resolving: the list is complete."""
    requirements = layout.stamps / "requirements.txt"
    requirements.write_text(wanted_requirements(layout), encoding="utf-8")
    command: list[str | Path] = [
        require_uv(layout),
        "pip",
        "install",
        "--no-deps",
        "--python",
        layout.python,
    ]
    command += ["--requirement", requirements]
    log, failure = layout.logs / "packages.log", "installing the Python packages failed"
    try:
        run_logged(command, log, failure, uv_environment(), layout.env)
    except ToolError as error:
        if not (is_unreachable(error) and installs_offline(layout, command)):
            raise explain(error) from error


def installs_offline(layout: Layout, command: list[str | Path]) -> bool:
    """Try to install from uv's cache alone, which holds everything that was installed before."""
    env = {**uv_environment(), "UV_OFFLINE": "1"}
    try:
        run_logged(command, layout.logs / "offline.log", "not in the cache", env, layout.env)
    except ToolError:
        return False
    return True


def check_imports(layout: Layout) -> None:
    """Raise PreparationError when what was installed does not import."""
    names = "torchvision, timm, cv2, rosbags, rclpy, sensor_msgs.msg"
    if layout.sourced_ros:
        env = dict(os.environ)
    else:
        libraries = wheels.library_variables(layout.venv, layout.site_packages)
        env = {**clean_environment(), **libraries}
    command: list[str | Path] = [layout.python, "-c", f"import {names}"]
    try:
        run_logged(command, layout.logs / "imports.log", "an installed package is unusable", env)
    except ToolError as error:
        last_line = "".join(error.output.strip().splitlines()[-1:])
        raise PreparationError(f"{error}: {last_line}") from error
