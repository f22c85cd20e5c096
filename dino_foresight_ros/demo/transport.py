"""Shared memory large enough for camera frames.

Fast DDS, the default middleware of ROS 2, shares half a megabyte by default. A larger message
goes through it (or through a socket's buffer) in pieces, and where the receiver is best effort,
as camera subscribers are, one piece lost on a busy machine loses the frame.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

_FRAMES = 10
_SMALLEST, _LARGEST = 16 * 2**20, 512 * 2**20
_SHM = "/dev/shm"
# What users set when they have arranged this themselves.
_OWN_SETTINGS = (
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
)
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<profiles xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <transport_descriptors>
    <transport_descriptor>
      <transport_id>frames</transport_id>
      <type>SHM</type>
      <segment_size>{segment}</segment_size>
      <maxMessageSize>{message}</maxMessageSize>
    </transport_descriptor>
    <transport_descriptor>
      <transport_id>sockets</transport_id>
      <type>UDPv4</type>
      <maxInitialPeersRange>32</maxInitialPeersRange>
    </transport_descriptor>
  </transport_descriptors>
  <participant profile_name="foresight_demo" is_default_profile="true">
    <rtps>
      <useBuiltinTransports>false</useBuiltinTransports>
      <userTransports>
        <transport_id>frames</transport_id>
        <transport_id>sockets</transport_id>
      </userTransports>
    </rtps>
  </participant>
</profiles>
"""


def segment_size(frame_bytes: int, free_bytes: int) -> int | None:
    """Bytes of shared memory for each participant; None where too little is free to help.

    Args:
        frame_bytes: of the largest message.
        free_bytes: of shared memory on this machine.
    """
    wanted = min(max(_FRAMES * frame_bytes, _SMALLEST), _LARGEST)
    # Every participant reserves its own; touching more than there is would crash it.
    size = min(wanted, free_bytes // 6)
    return size if size >= 3 * frame_bytes else None


def frame_transport(
    environment: Mapping[str, str], frame_bytes: int, folder: Path
) -> dict[str, str]:
    """Environment variables that give Fast DDS enough shared memory; none where it is arranged.

    Args:
        environment: the variables so far.
        frame_bytes: of the largest message.
        folder: where to write the profile; it must last as long as the processes.
    """
    if any(name in environment for name in _OWN_SETTINGS):
        return {}
    try:
        free_bytes = shutil.disk_usage(_SHM).free
    except OSError:
        return {}
    segment = segment_size(frame_bytes, free_bytes)
    if segment is None:
        return {}
    path = folder / "fastdds.xml"
    # A message comes with a header; a little more than the frame must fit in one piece.
    message = min(segment // 2, frame_bytes + 2**20)
    path.write_text(_PROFILE.format(segment=segment, message=message), encoding="utf-8")
    # The name until Jazzy, and the one since.
    return {
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(path),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(path),
    }
