"""Where launch and launch_ros come from: a sourced ROS, or the folders that a variable names."""

from __future__ import annotations

import os
import sys

# `make test-launch` always sets it, empty for a sourced ROS; then the two have to be there.
FOLDERS = os.environ.get("FORESIGHT_LAUNCH_PATH")

if FOLDERS:
    sys.path[:0] = FOLDERS.split(os.pathsep)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([FOLDERS, *([inherited] if inherited else [])])
if FOLDERS is not None:
    import launch_ros  # noqa: F401
