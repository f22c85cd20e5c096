"""The environment that ROS starts in: where log files go, and how DDS carries messages.

A node ends at its start when it can make no log folder: a user without a home folder, a read-only
file system. Its messages on stderr and /rosout need no file. Imports no ROS.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.shipped import find_file

_MIDDLEWARE = "RMW_IMPLEMENTATION"
_DOMAIN = "ROS_DOMAIN_ID"
_LAST_DOMAIN = 232
WITHOUT_FILES = ["--ros-args", "--disable-external-lib-logs"]


def check_middleware(variables: Mapping[str, str]) -> None:
    """Make sure that the middleware that is asked for is there; rcl ends the process otherwise.

    Call before rclpy is imported. Where the installed ones are not known, nothing is refused.

    Raises:
        UsageError: it is not installed.
    """
    wanted = variables.get(_MIDDLEWARE, "")
    folders = (Path(prefix) for prefix in variables.get("AMENT_PREFIX_PATH", "").split(os.pathsep))
    index = "share/ament_index/resource_index/rmw_typesupport"
    found = {path.name for folder in folders for path in folder.glob(f"{index}/rmw_*")}
    installed = sorted(found - {"rmw_implementation"})
    if wanted and installed and wanted not in installed:
        raise UsageError(
            f"{_MIDDLEWARE}={wanted} is not installed (installed: {', '.join(installed)}); "
            "install it, or unset the variable"
        )


def check_domain(variables: Mapping[str, str]) -> None:
    """Make sure that the ROS domain is one; of what DDS says of others nobody understands much.

    Raises:
        UsageError: ROS_DOMAIN_ID is no number from 0 to 232.
    """
    text = variables.get(_DOMAIN, "").strip()
    if text and not (text.isascii() and text.isdigit() and int(text) <= _LAST_DOMAIN):
        raise UsageError(f"{_DOMAIN}={text}: give 0 to {_LAST_DOMAIN}, or unset it")


def log_folder() -> Path | None:
    """The folder that ROS takes, by its own rules; None where it finds none."""
    given = os.environ.get("ROS_LOG_DIR")
    text = given or os.path.join(os.environ.get("ROS_HOME") or "~/.ros", "log")
    if not text.startswith("~"):
        return Path(text)
    home = os.environ.get("HOME")
    return Path(home + text[1:]) if home else None


def logging_arguments() -> list[str]:
    """Arguments for ROS: none, or those that do without log files, said in one line on stderr."""
    folder = log_folder()
    if folder is None:
        reason = "HOME is not set"
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return []
            reason = f"{folder} is not writable"
        except OSError as error:
            reason = f"{folder}: {error.strerror}"
    print(f"no log file is written ({reason}); set ROS_LOG_DIR to have one", file=sys.stderr)
    return WITHOUT_FILES


PROFILES = "config/fastdds.xml"
PROFILES_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Of Fast DDS 2 (Jazzy) and of 3."""
PROFILES_HERE = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")
SHARED_MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 256 << 20


def choose_transport() -> bool:
    """Let Fast DDS use a larger shared memory segment, unless the user chose its transports.

    Its own of 512 KB is too small for forecasts: a process that is killed while it reads keeps its
    part of the segment for ever, and after a few no message over 64 KB gets through to anybody
    (docs/reliability.md). Call before ROS is initialised.

    Returns:
        Whether the profile is in use. Not where the user's environment or folder has one, where
        another DDS is chosen, or where the machine has little shared memory (a container's 64 MB).
    """
    if any(os.environ.get(name) for name in (*PROFILES_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")):
        return False
    if any(Path(name).exists() for name in PROFILES_HERE):
        return False
    if "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return False
    profiles = find_file(PROFILES)
    if profiles is None or not SHARED_MEMORY.is_dir():
        return False
    if shutil.disk_usage(SHARED_MEMORY).free < LEAST_FREE_BYTES:
        return False
    os.environ.update(dict.fromkeys(PROFILES_VARIABLES, str(profiles)))
    return True
