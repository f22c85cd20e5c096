from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from dino_foresight_ros.demo import dds
from dino_foresight_ros.demo.dds import (
    choose_domain,
    is_free,
    left_out,
    private_environment,
    segment_size,
)
from dino_foresight_ros.errors import ForesightError


def occupy(stack: ExitStack, domain_id: int) -> None:
    """Do what the first DDS participant of a domain does (RTPS 2.2, 9.6.1.1: 7400 + 250 d + 10)."""
    taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    taken.bind(("", 7410 + 250 * domain_id))


def test_a_domain_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose_domain()
    with ExitStack() as stack:
        occupy(stack, first)
        assert not is_free(first)
        assert choose_domain() != first
    assert is_free(first)


def test_when_every_domain_is_in_use_the_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dds, "DOMAINS", range(218, 220))
    with ExitStack() as stack:
        for domain_id in (218, 219):
            occupy(stack, domain_id)
        with pytest.raises(ForesightError, match="--domain-id"):
            choose_domain()


def test_ros_stays_on_this_machine() -> None:
    base = {
        "ROS_STATIC_PEERS": "10.0.0.1",
        "ROS_LOCALHOST_ONLY": "0",
        "ROS_DISCOVERY_SERVER": "10.0.0.1:11811",
        "ROS_SUPER_CLIENT": "TRUE",
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF",
        "FASTRTPS_DEFAULT_PROFILES_FILE": "/robot.xml",
        "CYCLONEDDS_URI": "",
        "PATH": "/bin",
    }
    environment = private_environment(base, 7, "/logs")
    assert environment["ROS_DOMAIN_ID"] == "7"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment["PATH"] == "/bin"
    said = set(left_out(base))
    assert said == base.keys() - {"PATH", "CYCLONEDDS_URI"}
    assert not (said - {"ROS_AUTOMATIC_DISCOVERY_RANGE"}) & environment.keys()
    assert left_out({"PATH": "/bin", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}) == []
    assert private_environment({"ROS_DISTRO": "humble"}, 7, "/logs")["ROS_LOCALHOST_ONLY"] == "1"


@pytest.mark.parametrize("frame_bytes", [10_000, 1_555_200, 25_000_000])
def test_shared_memory_holds_several_frames_and_leaves_most_to_others(frame_bytes: int) -> None:
    for free in (0, 2**20, 64 * 2**20, 2**34):
        size = segment_size(frame_bytes, free)
        if size is not None:
            # Demo, camera and forecast node: three participants, each with its own.
            assert 3 * frame_bytes <= size
            assert 3 * size <= free / 2
    assert segment_size(frame_bytes, 2**34) is not None
    assert segment_size(frame_bytes, 0) is None
