"""The demo's page: there before the demo plays, and told in one line where it cannot be."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from optional import NEEDS_RERUN

pytest.importorskip("rclpy", reason="ROS 2 is not there (run through scripts/with_env)")

from dino_foresight_ros.demo.viewer import DemoViewer
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.view.server import free_port

pytestmark = [pytest.mark.process, NEEDS_RERUN]


def test_the_page_is_there_within_the_block_and_gone_after_it() -> None:
    port = free_port()
    with DemoViewer(port) as viewer:
        assert viewer.url == f"http://127.0.0.1:{port}/"
        with urllib.request.urlopen(viewer.url, timeout=120) as answer:
            assert answer.status == 200
            assert b"<canvas" in answer.read()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(ForesightError, match=rf"^view_node: port {port} of") as caught,
            DemoViewer(port),
        ):
            pytest.fail("there is no page to look at")
    assert "\n" not in str(caught.value)
