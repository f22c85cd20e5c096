"""What installed wheels need besides being installed: checking, and fitting ROS to its place."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from layout import write_atomically

# The machine that built the ROS wheels left the place of its own Python in them.
BUILD_PYTHON_INCLUDE = re.compile(r"/opt/python/cp\d+-cp\d+/include/python\d\.\d+")
BUILD_SITE_PACKAGES = re.compile(r"/opt/python/cp\d+-cp\d+/lib/python\d\.\d+/site-packages")


def is_whole(path: str, size: str) -> bool:
    """Tell whether an installed file is there, in full."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    # relocate() and pip's and uv's script writers change what they install.
    changes = path.endswith(".cmake") or "/bin/" in path or "/../" in path
    return changes or not size or status.st_size == int(size)


def is_damaged(information: Path) -> bool:
    """Tell whether a file that a distribution's RECORD lists is missing or cut short."""
    site_packages = os.fspath(information.parent)
    try:
        with (information / "RECORD").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == 3]
    except OSError:
        return True
    return not all(
        is_whole(os.path.join(site_packages, name), size)
        for name, _, size in rows
        if not name.endswith(".pyc")
    )


def find_damaged(site_packages: Path) -> set[str]:
    """Return the names of the distributions whose files are not all there."""
    return {
        information.name.split("-")[0]
        for information in site_packages.glob("*.dist-info")
        if is_damaged(information)
    }


def forget(site_packages: Path, names: Iterable[str]) -> None:
    """Remove the records of distributions, so that they are installed again."""
    wanted = set(names)
    for information in site_packages.glob("*.dist-info"):
        if information.name.split("-")[0] in wanted:
            shutil.rmtree(information, ignore_errors=True)


def relocate(venv: Path, site_packages: Path) -> None:
    """Point the exported CMake files of the ROS wheels to this environment's Python."""
    include = sysconfig.get_path("include")
    for path in (venv / "share").glob("*/cmake/*.cmake"):
        text = path.read_text(encoding="utf-8")
        if "/opt/python/" not in text:
            continue
        text = BUILD_PYTHON_INCLUDE.sub(lambda _: include, text)
        text = BUILD_SITE_PACKAGES.sub(lambda _: os.fspath(site_packages), text)
        write_atomically(path, text)


def library_variables(venv: Path, site_packages: Path) -> dict[str, str]:
    """Return the variables with which the ROS wheels' shared libraries are found.

    The wheels would set them by running Python twice at every start, which the second variable
    spares.
    """
    folders = [venv / "lib", *sorted(site_packages.glob("ros_*.libs"))]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(map(os.fspath, folders)),
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
    }
