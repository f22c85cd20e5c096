"""The stages that install: uv, the virtual environment, Python packages and ROS wheels."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import wheels
from checks import check_disk
from layout import Layout, digest
from pip_settings import uv_environment
from progress import PreparationError, ToolError, run_logged

MINIMAL_UV = (0, 5)
UV_REQUIREMENT = "uv>=0.5"
PACKAGES_BYTES = 8_000_000_000
NETWORK_SIGNS = re.compile(
    r"dns error|error sending request|failed to fetch|failed to download|connection|timed out"
    r"|network|could not connect|certificate|tunnel|max retries|NewConnectionError",
    re.IGNORECASE,
)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would lead tools to another environment."""
    unwanted = {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX", "LD_LIBRARY_PATH"}
    unwanted |= {"PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def install_error(what: str, error: ToolError) -> PreparationError:
    """Turn a tool's failure into one line: the network, or the tool's own words."""
    lines = [line.strip() for line in error.output.splitlines() if line.strip()]
    if NETWORK_SIGNS.search(error.output):
        reason = (
            "the package index could not be reached; check the network, the proxy and pip's "
            "index settings, then run again"
        )
    elif "No space left" in error.output:
        reason = "the disk is full; free about 8 GB, then run again"
    else:
        reason = next((line for line in lines if "error" in line.lower()), lines[-1:] or "")
        reason = f"{reason}".strip("[]'")
    return PreparationError(f"{error}: {reason}")


def uv_works(uv: Path | str) -> bool:
    """Tell whether ``uv`` runs and is new enough."""
    try:
        reply = subprocess.run(
            [uv, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    match = re.match(r"uv (\d+)\.(\d+)", reply)
    return bool(match) and (int(match[1]), int(match[2])) >= MINIMAL_UV


def find_uv(layout: Layout) -> Path:
    """Return a working uv: from PATH, or else one of our own."""
    found = shutil.which("uv")
    if found and uv_works(found):
        return Path(found)
    folder = layout.env / "uv"
    for relative in ("bin/uv", "lib/bin/uv"):
        if uv_works(folder / relative):
            return folder / relative
    shutil.rmtree(folder, ignore_errors=True)
    return install_uv(layout, folder)


def install_uv(layout: Layout, folder: Path) -> Path:
    """Install uv into ``folder`` by whichever of venv, pip and virtualenv is there.

    Debian splits venv and pip from Python, so each may be missing.
    """
    log = layout.logs / "uv.log"
    env = clean_environment()
    attempts = (
        ([sys.executable, "-m", "venv", folder], folder / "bin" / "uv"),
        (None, folder / "lib" / "bin" / "uv"),
        (["virtualenv", "-p", sys.executable, folder], folder / "bin" / "uv"),
    )
    for create, uv in attempts:
        shutil.rmtree(folder, ignore_errors=True)
        if create is None:
            install = [sys.executable, "-m", "pip", "install", "--target", folder / "lib"]
        else:
            install = [folder / "bin" / "python", "-m", "pip", "install"]
        try:
            if create is not None:
                run_logged(create, log, "creating a virtual environment for uv failed", env)
            else:
                run_logged([sys.executable, "-m", "pip", "--version"], log, "no pip", env)
        except (ToolError, FileNotFoundError):
            continue
        try:
            run_logged([*install, UV_REQUIREMENT], log, "installing uv failed", env)
        except ToolError as error:
            raise install_error("uv", error) from error
        return uv
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    raise PreparationError(
        f"Python {version} has neither venv nor pip: sudo apt install python{version}-venv "
        "(or install uv and run again)"
    )


def venv_key(layout: Layout) -> str:
    """Return what the virtual environment depends on: its place and its base Python."""
    parts = [str(layout.root), str(layout.env), os.path.realpath(sys.executable), sys.version]
    return digest(*parts, "sourced" if layout.sourced_ros else "wheels")


def venv_runs(layout: Layout) -> bool:
    """Tell whether the virtual environment's Python starts."""
    command = [layout.python, "-I", "-c", "import encodings, sysconfig"]
    env = {**clean_environment(), "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1"}
    try:
        return subprocess.run(command, capture_output=True, timeout=60, env=env).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def ensure_venv(layout: Layout, uv: Path) -> None:
    """Create the virtual environment, afresh when it belongs elsewhere or does not run."""
    key = venv_key(layout)
    if layout.is_stamped("venv", key) and venv_runs(layout) and layout.site_packages.is_dir():
        return
    layout.unstamp("venv", "packages", "messages")
    for folder in (layout.venv, layout.build, layout.install):
        shutil.rmtree(folder, ignore_errors=True)
    check_disk(layout.env, PACKAGES_BYTES, "the environment")
    command = [uv, "venv", "--no-project", "--python", sys.executable, layout.venv]
    if layout.sourced_ros:
        command.append("--system-site-packages")
    log = layout.logs / "venv.log"
    try:
        run_logged(
            command, log, "creating the virtual environment failed", uv_environment(), layout.env
        )
    except ToolError as error:
        raise install_error("venv", error) from error
    layout.stamp("venv", key)


def wanted_requirements(layout: Layout) -> str:
    """Return the lines of the requirements to install.

    Beside a sourced ROS 2 installation its own packages are left to it, and so are NumPy and
    OpenCV: its cv_bridge is compiled against its own NumPy and breaks beside a newer one.
    """
    text = (layout.root / "scripts" / "requirements.txt").read_text(encoding="utf-8")
    if not layout.sourced_ros:
        return text
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", " ", "ros-"))]
    probe = [sys.executable, "-c", "import cv2, numpy"]
    if subprocess.run(probe, capture_output=True).returncode == 0:
        lines = [line for line in lines if not line.startswith(("numpy==", "opencv-python"))]
    return "\n".join(lines) + "\n"


def packages_key(layout: Layout) -> str:
    """Return what the installed packages depend on."""
    return digest(venv_key(layout), wanted_requirements(layout))


def folder_time(path: Path) -> str:
    """Return when an entry of ``path`` last appeared or disappeared."""
    return str(path.stat().st_mtime_ns)


def ensure_packages(layout: Layout, uv: Path) -> None:
    """Install the locked requirements; reinstall what is damaged."""
    key = packages_key(layout)
    if layout.is_stamped("packages", key):
        damaged = wheels.find_damaged(layout.site_packages)
        if not damaged:
            return
        print(f"      repairing {', '.join(sorted(damaged))}", file=sys.stderr)
        wheels.forget(layout.site_packages, damaged)
    elif not layout.is_stamped("packages.begun", key):
        # A different list: whatever is there is complete, so uv works out the difference.
        layout.stamp("packages.begun", key)
    else:
        wheels.forget(layout.site_packages, wheels.find_damaged(layout.site_packages))
    layout.unstamp("packages", "messages")
    install_packages(layout, uv)
    if not layout.sourced_ros:
        wheels.relocate(layout.venv, layout.site_packages)
    check_imports(layout)
    (layout.site_packages / "__pycache__").mkdir(exist_ok=True)
    layout.stamp("packages", key)
    layout.unstamp("packages.begun")


def install_packages(layout: Layout, uv: Path) -> None:
    """Install exactly the wanted requirements, without resolving: the list is complete."""
    requirements = layout.stamps / "requirements.txt"
    requirements.write_text(wanted_requirements(layout), encoding="utf-8")
    command = [uv, "pip", "install", "--no-deps", "--python", layout.python]
    command += ["--requirement", requirements]
    log = layout.logs / "packages.log"
    failure = "installing the Python packages failed"
    try:
        run_logged(command, log, failure, uv_environment(), layout.env)
    except ToolError as error:
        raise install_error("packages", error) from error


def check_imports(layout: Layout) -> None:
    """Raise PreparationError when what was installed does not import."""
    env = {**clean_environment(), **wheels.library_variables(layout.venv, layout.site_packages)}
    names = "torch, torchvision, timm, cv2, rosbags"
    if layout.sourced_ros:
        env = dict(os.environ)
    else:
        names += ", rclpy, sensor_msgs.msg"
    try:
        run_logged(
            [layout.python, "-c", f"import {names}"],
            layout.logs / "imports.log",
            "the installed packages do not import",
            env,
        )
    except ToolError as error:
        last = error.output.strip().splitlines()[-1:]
        raise PreparationError(f"{error}: {''.join(last)}") from error
