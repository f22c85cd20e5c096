"""How a node's process starts, ends and says what was wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from forked import ForkedProcess
from probe_node import main
from rclpy.node import Node
from ros_bench import Bench, wait_until
from std_msgs.msg import Bool

from dino_foresight_ros.ros.node_main import finish, run_node


@pytest.fixture
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/probe_node"])


@pytest.mark.parametrize(
    ("arguments", "exit_code", "out", "err"),
    [
        (["--ros-args", "-p", "mode:=end"], 0, "up\ndown\n", ""),
        (["--ros-args", "-p", "mode:=end elsewhere"], 5, "up\ndown\n", ""),
        (
            ["--ros-args", "-p", "mode:=bad input"],
            1,
            "",
            "probe_node: no such file: name another\n",
        ),
        (["--ros-args", "-p", "mode:=exit"], 3, "", ""),
        (
            ["--ros-args", "-p", "mode:=bug"],
            1,
            "up\ndown\n",
            "probe_node: ValueError: first line second line\n",
        ),
        (["--help"], 0, "how to use it\n", ""),
        (
            ["input.mp4"],
            2,
            "",
            "probe_node: unexpected argument 'input.mp4'; parameters are given as --ros-args -p "
            "NAME:=VALUE, and --help lists them\n",
        ),
    ],
)
@pytest.mark.usefixtures("node_in_this_process", "_program")
def test_node_ends_with_its_exit_code_and_one_line(
    arguments: list[str], exit_code: int, out: str, err: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(arguments)
    assert (code, *capfd.readouterr()) == (exit_code, out, err)


@pytest.mark.usefixtures("node_in_this_process", "_program")
@pytest.mark.parametrize("word", ["mode:=3", "mode"])
def test_wrong_type_of_parameter_and_bad_syntax_exit_with_2(
    word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--ros-args", "-p", word]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("probe_node: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("mode", "sign", "out"),
    [("wait", "up", "down\n"), ("load", "loading", ""), ("stuck", "up", "down\n")],
)
def test_signal_ends_the_process_cleanly(
    number: int, mode: str, sign: str, out: str, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = ForkedProcess(main, ["--ros-args", "-p", f"mode:={mode}"], ros_domain, log)
    try:
        assert wait_until(lambda: log.exists() and log.read_text() == f"{sign}\n")
        time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(100) == 0  # the stuck and the loading one would take ten minutes
    finally:
        process.kill()
    assert log.read_text() == f"{sign}\n{out}"


@pytest.mark.skipif(sys.platform != "linux", reason="the timers are Linux's")
def test_a_middleware_that_never_comes_back_does_not_keep_the_process(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = ForkedProcess(main, ["--ros-args", "-p", "mode:=stuck below"], ros_domain, log)
    try:
        assert wait_until(lambda: log.exists() and "up\n" in log.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(100) == 0
    finally:
        process.kill()
    text = log.read_text()
    assert text.startswith("up\ndown\n")
    assert "in _take_down" in text  # where it was stuck


def test_a_signal_just_as_the_node_begins_to_wait_ends_it(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    arguments = ["--ros-args", "-p", "mode:=signal at once"]
    process = ForkedProcess(main, arguments, ros_domain, log)
    try:
        assert wait_until(lambda: log.exists() and "up\n" in log.read_text())
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()


def test_leaving_flushes_keeps_the_exit_code_and_waits_for_nothing(
    ros_domain: dict[str, str],
) -> None:
    program = (
        "import atexit, sys\n"
        "from dino_foresight_ros.ros.node_main import leave\n"
        "atexit.register(print, 'unloading')\n"
        "sys.stdout.write('said')\n"
        "leave(3)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={k: v for k, v in ros_domain.items() if k != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said", "")


@pytest.mark.parametrize(("mode", "exit_code"), [("late", 0), ("destroyed", 1)])
@pytest.mark.usefixtures("node_in_this_process", "_program")
def test_callback_that_outlasts_the_shutdown_is_no_failure(
    mode: str, exit_code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()
    assert main(["--ros-args", "-p", f"mode:={mode}"]) == exit_code
    assert wait_until(lambda: threading.active_count() == before)  # the callback has ended
    assert ("InvalidHandle" in capfd.readouterr().err) == (exit_code != 0)


class StaysUp(Node):
    """Fails before rclpy's own part of the way down."""

    def __init__(self) -> None:
        super().__init__("stays_up")
        self.create_publisher(Bool, "of_it", 1)
        self.create_timer(0.01, finish)

    def destroy_node(self) -> None:
        raise ValueError("no way down")


@pytest.mark.usefixtures("node_in_this_process", "_program")
def test_a_node_that_fails_on_its_way_down_leaves_the_graph(
    capfd: pytest.CaptureFixture[str],
) -> None:
    bench = Bench()
    try:
        peer = bench.make("peer")
        made: list[StaysUp] = []  # keeps the node: no garbage collection takes it down

        def is_seen() -> tuple[bool, bool]:
            return "stays_up" in peer.get_node_names(), peer.count_publishers("of_it") > 0

        def make() -> Node:
            made.append(StaysUp())
            assert wait_until(lambda: is_seen() == (True, True))
            return made[0]

        assert run_node(make, []) == 0
        assert capfd.readouterr().err == "while ending: ValueError: no way down\n"
        assert wait_until(lambda: is_seen() == (False, False))
    finally:
        bench.close()
