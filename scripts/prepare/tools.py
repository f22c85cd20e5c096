"""The stage that makes sure of the build tools and of uv, which installs the rest."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from layout import Layout, clean_environment
from progress import PreparationError, ToolError, run_logged

# Debian's package for each program that building the messages needs; a program may go by several
# names.
BUILD_TOOLS = (
    (("cc", "gcc", "clang"), "build-essential"),
    (("c++", "g++", "clang++"), "build-essential"),
    (("make", "gmake"), "build-essential"),
    (("cmake",), "cmake"),
)
MINIMAL_UV = (0, 5)
NETWORK_SIGNS = re.compile(
    r"failed to fetch|failed to download|error sending request|dns error|network was disabled"
    r"|from versions: none|NewConnectionError|ConnectTimeout|ProxyError|SSLError"
    r"|Temporary failure in name resolution",
    re.IGNORECASE,
)


def check_build_tools() -> None:
    """Raise PreparationError naming every missing build tool and the command that installs them."""
    missing = [
        (names[0], debian) for names, debian in BUILD_TOOLS if not any(map(shutil.which, names))
    ]
    if missing:
        programs = ", ".join(name for name, _ in missing)
        debian = " ".join(dict.fromkeys(package for _, package in missing))
        raise PreparationError(
            f"building the ROS messages needs {programs}: sudo apt install {debian}"
        )


def check_disk(folder: Path, needed_bytes: float) -> None:
    """Raise PreparationError when ``folder`` has less than ``needed_bytes`` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise PreparationError(
            f"the environment needs {needed_bytes / 1e9:.0f} GB and {folder} has "
            f"{free / 1e9:.1f} GB free: free some, or set FORESIGHT_ENV_DIR to a folder on "
            "another disk"
        )


def is_unreachable(error: ToolError) -> bool:
    """Tell whether an installer failed because the package index was not reached."""
    return NETWORK_SIGNS.search(error.output) is not None


def explain(error: ToolError) -> PreparationError:
    """Make one line of an installer's failure: what to do, or else the tool's own words."""
    if is_unreachable(error):
        reason = (
            "the package index was not reached; check the network, the proxy and pip's index "
            "settings and run again"
        )
    elif "No space left" in error.output:
        reason = "the disk is full; free some space and run again"
    else:
        lines = [line.strip() for line in error.output.splitlines() if line.strip()]
        causes = [line for line in lines if re.match(r"(error|cause):", line, re.IGNORECASE)]
        reason = (causes or lines or ["no output"])[-1]
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
    return match is not None and (int(match[1]), int(match[2])) >= MINIMAL_UV


def own_uv(layout: Layout) -> list[Path]:
    """Return where a uv of our own may lie: a virtual environment's, or pip --target's."""
    return [layout.env / "uv" / "bin" / "uv", layout.env / "uv" / "target" / "bin" / "uv"]


def find_uv(layout: Layout) -> Path | None:
    """Return a working uv, from PATH or of our own."""
    found = shutil.which("uv")
    candidates = [Path(found)] if found else []
    return next((uv for uv in candidates + own_uv(layout) if uv_works(uv)), None)


def require_uv(layout: Layout) -> Path:
    """Return a working uv, which the stage of this module has provided."""
    uv = find_uv(layout)
    if uv is None:
        raise PreparationError("uv does not run any more; run again")
    return uv


def pip_environment() -> dict[str, str]:
    """Return the environment to run pip in, without settings that redirect what it installs."""
    redirecting = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV")
    env = {name: v for name, v in clean_environment().items() if name not in redirecting}
    return {**env, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def install_uv(layout: Layout) -> None:
    """Install uv by whichever of venv, pip and virtualenv is there: Debian splits them off."""
    folder = layout.env / "uv"
    venv_pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install"]
    attempts: tuple[tuple[list[str | Path], list[str | Path]], ...] = (
        ([sys.executable, "-m", "venv", folder], venv_pip),
        (
            [sys.executable, "-m", "pip", "--version"],
            [sys.executable, "-m", "pip", "install", "--target", folder / "target"],
        ),
        (["virtualenv", "-p", sys.executable, folder], venv_pip),
    )
    log, env = layout.logs / "uv.log", pip_environment()
    for begin, install in attempts:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            run_logged(begin, log, "not there", env)
        except (ToolError, OSError):
            continue
        minimum = ".".join(map(str, MINIMAL_UV))
        try:
            run_logged([*install, f"uv>={minimum}"], log, "installing uv failed", env)
        except ToolError as error:
            raise explain(error) from error
        return
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    raise PreparationError(
        f"Python {version} has neither venv nor pip: sudo apt install python{version}-venv"
        " (or install uv)"
    )


def is_ready(layout: Layout) -> bool:
    """Tell whether everything is there."""
    check_build_tools()
    return find_uv(layout) is not None


def run(layout: Layout) -> None:
    """Provide uv."""
    install_uv(layout)
    require_uv(layout)
