"""Processes that start at once: forked by a server that has imported torch, timm and rclpy.

Importing them takes a process seconds of a core, far longer than most tests of it. What a process
does from its very start on, its imports included, is for tests that start it as a user does.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

Main = Callable[[Sequence[str]], int]
"""Takes the command line without the program's name and returns the exit code."""

context = multiprocessing.get_context("forkserver")
# Those that are not there (ROS) are passed over.
context.set_forkserver_preload(
    [
        "dino_foresight_ros.training.loop",
        "torch.utils.tensorboard",
        "dino_foresight_ros.nodes.forecast.node",
        "dino_foresight_ros.nodes.forecast.pipeline",
        "untrained_once",
        "toy_training",
    ]
)


@cache
def _start_server() -> None:
    """A server of Python 3.11 does not know this one's sys.path."""
    helpers = str(Path(__file__).parent)
    path = os.pathsep.join([helpers, *filter(None, [os.environ.get("PYTHONPATH")])])
    with mock.patch.dict(os.environ, PYTHONPATH=path):
        forkserver.ensure_running()


class ForkedProcess:
    """Runs a main function; to be handled like a subprocess.Popen."""

    def __init__(
        self, main: Main, arguments: Sequence[str], environment: Mapping[str, str], output: Path
    ) -> None:
        """Start; what is printed goes to the file `output`."""
        _start_server()
        self._process = context.Process(
            target=_run, args=(main, list(arguments), dict(environment), output)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired([self._process.name], timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _run(main: Main, arguments: list[str], environment: dict[str, str], output: Path) -> None:
    with output.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    faulthandler.register(signal.SIGUSR1)
    sys.argv = [str(sys.modules[main.__module__].__file__), *arguments]
    sys.exit(main(arguments))
