"""Where ROS keeps log files, and what to do where it cannot.

A node ends at its start when it can make no log folder: a user without a home folder, a read-only
file system. Its messages on stderr and /rosout need no file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

WITHOUT_FILES = ["--ros-args", "--disable-external-lib-logs"]


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
