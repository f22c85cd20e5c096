"""The page as a browser asks for it: on this machine alone, and talking to nobody else."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from optional import NEEDS_RERUN

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.view.server import ViewerServer, check_port, free_port
from dino_foresight_ros.view.web_page import Page

pytestmark = [pytest.mark.process, NEEDS_RERUN]


@pytest.fixture(scope="module")
def server() -> Iterator[ViewerServer]:
    with ViewerServer("127.0.0.1", free_port(), "50MB") as server:
        yield server


@pytest.fixture(scope="module")
def page(server: ViewerServer) -> Iterator[Page]:
    page = Page("127.0.0.1", free_port(), server.files_url, 4321)
    yield page
    page.close()


def answer(page: Page, path: str) -> http.client.HTTPResponse:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", path)
    return connection.getresponse()


def test_the_address_alone_leads_to_the_data(page: Page) -> None:
    reply = answer(page, "/")
    assert reply.status == 302
    assert reply.headers["Location"] == "/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A4321%2Fproxy"


def test_the_browser_is_told_to_talk_to_nobody_but_the_server(page: Page) -> None:
    reply = answer(page, "/?url=rerun%2Bhttp%3A%2F%2F127.0.0.1%3A4321%2Fproxy")
    assert reply.status == 200
    assert b"<canvas" in reply.read()
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    hosts = set(re.findall(r"https?://[^\s;]+", policy))
    assert hosts == {"http://127.0.0.1:4321"}


def test_the_viewers_files_come_from_the_sdk(page: Page, server: ViewerServer) -> None:
    for name in ("re_viewer.js", "re_viewer_bg.wasm", "favicon.ico"):
        with urllib.request.urlopen(f"{server.files_url}/{name}", timeout=120) as theirs:
            expected = theirs.read()
        reply = answer(page, f"/{name}")
        assert reply.read() == expected, name
        assert len(expected) > 1000
    assert answer(page, "/missing").status == 404


def test_only_this_machine_can_connect(server: ViewerServer) -> None:
    """Every listening socket of the server's process, as the kernel has it."""
    ports = {server.files_port, int(re.findall(r":(\d+)/", server.data_url)[0])}
    listening = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        address, port = local.split(":")
        if state == "0A" and int(port, 16) in ports:
            listening[int(port, 16)] = address
    assert listening == dict.fromkeys(ports, "0100007F")


def test_a_port_in_use_is_one_clear_line(server: ViewerServer, page: Page) -> None:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(InputError, match=rf"^port {port} of 127\.0\.0\.1 .*in use.*--port"):
        Page("127.0.0.1", port, server.files_url, 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"^port {taken} "):
            ViewerServer("127.0.0.1", taken, "50MB")
        with pytest.raises(InputError, match="in use"):
            check_port("127.0.0.1", taken)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InputError, match=r"of 192\.0\.2\.1 cannot be used"):
        check_port("192.0.2.1", free_port())


def test_a_memory_limit_must_be_one() -> None:
    with pytest.raises(UsageError, match=r"memory limit '1 pound'.*valid: such as 500MB"):
        ViewerServer("127.0.0.1", free_port(), "1 pound")


def test_the_server_dies_with_the_process_that_started_it() -> None:
    code = (
        "import sys, time; from dino_foresight_ros.view.server import ViewerServer, free_port\n"
        "server = ViewerServer('127.0.0.1', free_port(), '50MB')\n"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        for _ in range(200):
            if not _runs(pid):
                break
            signal.sigtimedwait([], 0.05)
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_usage_statistics_are_off(server: ViewerServer) -> None:
    (settings,) = server.settings.rglob("analytics.json")
    assert '"analytics_enabled": false' in settings.read_text().replace('":false', '": false')
