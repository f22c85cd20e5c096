"""How a node's process starts, ends and says what was wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

PROGRAM = """
import sys, threading, time
from rclpy.node import Node
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros.run import finish, run_node

class Probe(Node):
    def __init__(self):
        super().__init__("probe")
        mode = self.declare_parameter("mode", "wait").value
        if mode == "load":
            print("loading", flush=True)
            time.sleep(60)
        if mode == "bad input":
            raise InputError("no such file: name another")
        if mode == "exit":
            raise SystemExit(3)
        if mode == "bug":
            self.create_timer(0.01, self.bug)
        if mode == "end":
            self.create_timer(0.01, finish)
        if mode == "end elsewhere":
            threading.Thread(target=finish, args=(5,)).start()
        if mode == "stuck":
            threading.Thread(target=time.sleep, args=(60,), name="foresight-stuck").start()
        print("up", flush=True)

    def bug(self):
        raise ValueError("first line\\nsecond line")

    def destroy_node(self):
        print("down", flush=True)
        super().destroy_node()

sys.exit(run_node(Probe, usage="how to use it"))
"""


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code", "out", "err"),
    [
        (["--ros-args", "-p", "mode:=end"], 0, "up\ndown\n", ""),
        (["--ros-args", "-p", "mode:=end elsewhere"], 5, "up\ndown\n", ""),
        (["--ros-args", "-p", "mode:=bad input"], 1, "", "-c: no such file: name another\n"),
        (["--ros-args", "-p", "mode:=exit"], 3, "", ""),
        (
            ["--ros-args", "-p", "mode:=bug"],
            1,
            "up\ndown\n",
            "-c: ValueError: first line second line\n",
        ),
        (["--help"], 0, "how to use it\n", ""),
        (
            ["input.mp4"],
            2,
            "",
            "-c: unexpected argument 'input.mp4'; parameters are given as --ros-args -p "
            "NAME:=VALUE, and --help lists them\n",
        ),
    ],
)
def test_process_ends_with_its_exit_code_and_one_line(
    arguments: list[str], exit_code: int, out: str, err: str, ros_domain: dict[str, str]
) -> None:
    process = start(ros_domain, *arguments)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (exit_code, out, err)


def test_wrong_type_of_parameter_and_bad_syntax_exit_with_2(ros_domain: dict[str, str]) -> None:
    for arguments in (["-p", "mode:=3"], ["-p", "mode"]):
        process = start(ros_domain, "--ros-args", *arguments)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 2
        assert len(stderr.splitlines()) == 1, stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("mode", "sign", "out"),
    [("wait", "up", "down\n"), ("load", "loading", ""), ("stuck", "up", "down\n")],
)
def test_signal_ends_the_process_cleanly(
    number: int, mode: str, sign: str, out: str, ros_domain: dict[str, str]
) -> None:
    process = start(ros_domain, "--ros-args", "-p", f"mode:={mode}")
    assert process.stdout is not None
    assert process.stdout.readline() == f"{sign}\n"
    time.sleep(0.1)
    started = time.monotonic()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout, stderr) == (0, out, "")
    assert time.monotonic() - started < 5


def test_leaving_flushes_keeps_the_exit_code_and_waits_for_nothing(
    ros_domain: dict[str, str],
) -> None:
    program = (
        "import atexit, sys\n"
        "from dino_foresight_ros.ros.run import leave\n"
        "atexit.register(print, 'unloading')\n"
        "sys.stdout.write('said')\n"
        "leave(3)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={k: v for k, v in ros_domain.items() if k != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "said", "")
