"""How DDS carries a node's messages to other processes of the machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dino_foresight_ros.shipped import find_file

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
