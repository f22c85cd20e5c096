"""Checks of what has to be on the machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from progress import PreparationError

# Debian's package for each program that building the messages needs; a program may go by several
# names.
TOOLS = (
    (("cc", "gcc", "clang"), "build-essential"),
    (("c++", "g++", "clang++"), "build-essential"),
    (("make", "gmake"), "build-essential"),
    (("cmake",), "cmake"),
)


def check_tools() -> None:
    """Raise PreparationError naming every missing build tool and the command that installs them."""
    missing = [(names[0], debian) for names, debian in TOOLS if not any(map(shutil.which, names))]
    if missing:
        programs = ", ".join(name for name, _ in missing)
        debian = " ".join(dict.fromkeys(package for _, package in missing))
        raise PreparationError(
            f"missing to build the ROS messages: {programs}: sudo apt install {debian}"
        )


def check_disk(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise PreparationError when ``folder`` has less than ``needed_bytes`` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise PreparationError(
            f"{what} needs {needed_bytes / 1e9:.0f} GB in {folder}, {free / 1e9:.1f} GB are free: "
            "free some, or set FORESIGHT_ENV_DIR to a folder on another disk"
        )
