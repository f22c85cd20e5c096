"""A node that starts, ends and fails as its parameter `mode` says."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from rclpy.node import Node

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros.node_main import finish, run_node


class Probe(Node):
    def __init__(self) -> None:
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

    def bug(self) -> None:
        raise ValueError("first line\nsecond line")

    def destroy_node(self) -> None:
        print("down", flush=True)
        super().destroy_node()


def main(arguments: Sequence[str]) -> int:
    return run_node(Probe, arguments, usage="how to use it")
