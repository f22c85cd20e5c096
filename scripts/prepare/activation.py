"""Writes the shell file that scripts/with_env reads to enter the environment."""

from __future__ import annotations

import os
import shlex

import wheels
from layout import PACKAGE, Layout, write_atomically


def prepend(name: str, *folders: object) -> str:
    """Return a line that puts folders before what the variable holds already."""
    new = shlex.quote(os.pathsep.join(str(folder) for folder in folders))
    return f'export {name}={new}"${{{name}:+:${name}}}"'


def assign(name: str, value: object) -> str:
    """Return a line that sets a variable."""
    return f"export {name}={shlex.quote(str(value))}"


def lines(layout: Layout) -> list[str]:
    """Return the lines of the file."""
    install_python = layout.install / "lib" / layout.python_folder / "site-packages"
    result = [
        "# Written by scripts/prepare; read by scripts/with_env.",
        assign("FORESIGHT_ENV", layout.env),
        assign("VIRTUAL_ENV", layout.venv),
        "unset PYTHONHOME",
        prepend("PATH", layout.install / "lib" / PACKAGE, layout.venv / "bin"),
        prepend("PYTHONPATH", install_python),
    ]
    if layout.sourced_ros:
        result += [
            prepend("AMENT_PREFIX_PATH", layout.install),
            prepend("CMAKE_PREFIX_PATH", layout.install),
            prepend("LD_LIBRARY_PATH", layout.install / "lib"),
        ]
        return result
    prefixes = f"{layout.install}{os.pathsep}{layout.venv}"
    libraries = wheels.library_variables(layout.venv, layout.site_packages)
    result += [
        # Set, not extended: another ROS installation's libraries do not fit these.
        assign("AMENT_PREFIX_PATH", prefixes),
        assign("CMAKE_PREFIX_PATH", prefixes),
        prepend("LD_LIBRARY_PATH", layout.install / "lib", libraries.pop("LD_LIBRARY_PATH")),
        *(assign(name, value) for name, value in libraries.items()),
        'export RMW_IMPLEMENTATION="${RMW_IMPLEMENTATION:-rmw_fastrtps_cpp}"',
    ]
    return result


def write(layout: Layout) -> None:
    """Write the file."""
    write_atomically(layout.env / "environment.sh", "\n".join(lines(layout)) + "\n")
