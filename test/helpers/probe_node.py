"""A node that starts, ends and fails as its parameter `mode` says."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Bool

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros import node_main
from dino_foresight_ros.ros.node_main import finish, run_node

RUN_NODE = node_main.__file__


class Probe(Node):
    def __init__(self) -> None:
        super().__init__("probe")
        mode = self.declare_parameter("mode", "wait").value
        if mode == "load":
            print("loading", flush=True)
            time.sleep(600)
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
            threading.Thread(target=time.sleep, args=(600,), name="foresight-stuck").start()
        if mode in ("late", "destroyed"):
            self.late = self.create_publisher(Bool, "late", 1)
            self.is_down = threading.Event()
            self.create_timer(0.01, self.outlast if mode == "late" else self.publish_destroyed)
        if mode == "signal at once":
            signal_in_wait()
        print("up", flush=True)

    def bug(self) -> None:
        raise ValueError("first line\nsecond line")

    def outlast(self) -> None:
        finish()
        self.is_down.wait(60)
        self.late.publish(Bool())

    def publish_destroyed(self) -> None:
        self.destroy_publisher(self.late)
        self.late.publish(Bool())

    def destroy_node(self) -> None:
        print("down", flush=True)
        super().destroy_node()
        if self.get_parameter("mode").value == "stuck below":
            # A middleware that never comes back keeps the interpreter's lock.
            node_main.rclpy.try_shutdown = lambda: ctypes.PyDLL(None).sleep(600)
            node_main.MIDDLEWARE_LIMIT_S = 0.5
        if hasattr(self, "is_down"):
            self.is_down.set()


def signal_in_wait() -> None:
    """Have SIGINT come just after run_node took the lock of an Event that it waits for."""

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        caller = frame.f_back and frame.f_back.f_code.co_filename
        if (code.co_filename, code.co_name, caller) != (threading.__file__, "wait", RUN_NODE):
            return None
        lines: set[int] = set()

        def trace_lines(frame: FrameType, _event: str, _argument: Any) -> Any:
            lines.add(frame.f_lineno)
            if len(lines) == 2:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
            return trace_lines

        return trace_lines

    sys.settrace(trace)


def main(arguments: Sequence[str]) -> int:
    return run_node(Probe, arguments, usage="how to use it")
