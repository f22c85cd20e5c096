"""A corner of DDS where the demo is alone."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping

from dino_foresight_ros.errors import ForesightError

# Of the 233 domains, those whose ports lie beyond what Linux hands out to everybody (32768 to
# 60999), and which people rarely choose for their robots.
_DOMAINS = range(215, 232)
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
    start = os.getpid() % len(_DOMAINS)
    for offset in range(len(_DOMAINS)):
        domain_id = _DOMAINS[(start + offset) % len(_DOMAINS)]
        if is_free(domain_id):
            return domain_id
    first, last = _DOMAINS[0], _DOMAINS[-1]
    raise ForesightError(
        f"ROS domains {first} to {last} are all in use here; choose another with --domain-id"
    )


def private_environment(base: Mapping[str, str], domain_id: int, log_dir: str) -> dict[str, str]:
    """Environment variables with which ROS stays on this machine and in this domain.

    Args:
        base: the variables to start from.
        domain_id: the ROS domain.
        log_dir: where ROS may write its own log files.
    """
    environment = {
        **base,
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": log_dir,
        "RCUTILS_COLORIZED_OUTPUT": "0",
        # As the demo reads it: other formats have the level somewhere else.
        "RCUTILS_CONSOLE_OUTPUT_FORMAT": "[{severity}] [{time}] [{name}]: {message}",
    }
    environment.pop("ROS_STATIC_PEERS", None)
    environment.pop("ROS_LOCALHOST_ONLY", None)
    if base.get("ROS_DISTRO") in ("humble", "galactic", "foxy"):
        # Before Iron there was only this switch; later it is deprecated, and warned of.
        environment["ROS_LOCALHOST_ONLY"] = "1"
    return environment
