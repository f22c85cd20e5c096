"""DDS settings of the demo's nodes: a domain of their own, with room for camera frames."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.ros.environment import check_middleware

# Of the 233 domains, those whose ports lie beyond what Linux hands out to everybody (32768 to
# 60999), and which people rarely choose for their robots.
DOMAINS = range(215, 232)
# DDSI-RTPS port mapping: base, gain per domain, offset of unicast discovery.
_PORT_BASE, _DOMAIN_GAIN, _UNICAST_OFFSET = 7400, 250, 10


def is_free(domain_id: int) -> bool:
    """Whether no process of this machine takes part in the domain.

    The first participant of a domain binds a port that follows from the domain's number.
    """
    port = _PORT_BASE + _DOMAIN_GAIN * domain_id + _UNICAST_OFFSET
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def choose_domain() -> int:
    """A ROS_DOMAIN_ID that nobody on this machine uses.

    The search starts at a place that follows from the process, so that two demos started at once
    rarely ask for the same.

    Raises:
        ForesightError: all of them are in use.
    """
    start = os.getpid() % len(DOMAINS)
    for offset in range(len(DOMAINS)):
        domain_id = DOMAINS[(start + offset) % len(DOMAINS)]
        if is_free(domain_id):
            return domain_id
    first, last = DOMAINS[0], DOMAINS[-1]
    raise ForesightError(
        f"ROS domains {first} to {last} are all in use here; choose another with --domain-id"
    )


# Of a shell on a robot; here they would lead the nodes out of their domain, or to a server, or keep
# them from one another.
_LEFT_OUT = (
    "ROS_DISCOVERY_SERVER",
    "ROS_SUPER_CLIENT",
    "ROS_STATIC_PEERS",
    "ROS_LOCALHOST_ONLY",
    "ROS_SECURITY_ENABLE",
    "ROS_SECURITY_STRATEGY",
    "ROS_SECURITY_KEYSTORE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
    "FASTDDS_ENVIRONMENT_FILE",
    "RMW_FASTRTPS_USE_QOS_FROM_XML",
    "CYCLONEDDS_URI",
)
_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"


def left_out(base: Mapping[str, str]) -> list[str]:
    """Names of the variables in `base` that `private_environment` does not keep."""
    names = [name for name in _LEFT_OUT if base.get(name)]
    return names + [_RANGE] * (base.get(_RANGE) not in (None, "", "LOCALHOST"))


def private_environment(base: Mapping[str, str], domain_id: int, log_dir: str) -> dict[str, str]:
    """Environment variables with which ROS stays on this machine and in this domain.

    Args:
        base: the variables to start from.
        domain_id: the ROS domain.
        log_dir: where ROS may write its own log files.

    Raises:
        UsageError: RMW_IMPLEMENTATION names a middleware that is not installed.
    """
    check_middleware(base)
    environment = {
        **{name: value for name, value in base.items() if name not in _LEFT_OUT},
        "ROS_DOMAIN_ID": str(domain_id),
        _RANGE: "LOCALHOST",
        "ROS_LOG_DIR": log_dir,
        "RCUTILS_COLORIZED_OUTPUT": "0",
        # As the demo reads it: other formats have the level somewhere else.
        "RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] [{time}] [{name}]: {message}",
        # Fast DDS does not read the profiles in the folder that it is started in.
        "SKIP_DEFAULT_XML_FILE": "1",
    }
    if base.get("ROS_DISTRO") in ("humble", "galactic", "foxy"):
        # Before Iron there was only this switch; later it is deprecated, and warned of.
        environment["ROS_LOCALHOST_ONLY"] = "1"
    return environment


# Shared memory. Fast DDS, the default middleware of ROS 2, shares half a megabyte by default. A
# larger message goes through it (or through a socket's buffer) in pieces, and where the receiver is
# best effort, as camera subscribers are, one piece lost on a busy machine loses the frame.
_FRAMES = 10
_SMALLEST, _LARGEST = 16 * 2**20, 512 * 2**20
_SHM = "/dev/shm"
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


def frame_transport(frame_bytes: int, folder: Path) -> dict[str, str]:
    """Environment variables that give Fast DDS enough shared memory; none where there is little.

    Args:
        frame_bytes: of the largest message.
        folder: where to write the profile; it must last as long as the processes.
    """
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
