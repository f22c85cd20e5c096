"""Runs the rerun program as a server of data and of the viewer's files."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dino_foresight_ros.closeable import Closeable
from dino_foresight_ros.errors import ForesightError, InputError, UsageError
from dino_foresight_ros.process import die_with_parent
from dino_foresight_ros.view import rerun_sdk

START_LIMIT_S = 30.0
_END_LIMIT_S = 5.0
_POLL_S = 0.05
_LIMIT = re.compile(r"\d+(\.\d+)?([kMG]i?B|%)")


def check_memory_limit(text: str) -> str | None:
    """Why this is no memory limit as rerun writes it; None for one."""
    if _LIMIT.fullmatch(text):
        return None
    return f"{text!r} is no amount of memory; valid: such as 500MB, 2GB or 10%"


def check_port(address: str, port: int) -> None:
    """Make sure that nobody listens there.

    Raises:
        InputError: somebody does, or the address is not this machine's.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise port_error(address, port, error) from error


def port_error(address: str, port: int, error: OSError) -> InputError:
    """The error for a port that cannot be listened on."""
    reason = (error.strerror or str(error)).lower()
    return InputError(
        f"port {port} of {address} cannot be used ({reason}): choose another with --port "
        "(parameter port); the viewer takes it and the next one"
    )


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ViewerServer(Closeable):
    """Keeps what is logged, up to a limit, for every viewer that connects.

    It sends no usage statistics: it runs with settings of its own, in which they are off.

    Attributes:
        data_url: where to log to.
        files_port: where it serves the viewer's files, on the loopback interface's address or on
            the one given.
        pid: of the process that serves.
        settings: folder of its settings and its log, which `close` removes.
    """

    def __init__(
        self, address: str, port: int, memory_limit: str, origins: Sequence[str] = ()
    ) -> None:
        """Start it, and return when it takes data.

        Args:
            address: to listen on.
            port: for data.
            memory_limit: how much it keeps, such as "1GB"; the oldest data goes first.
            origins: patterns of the pages, besides this machine's, that may read data.

        Raises:
            UsageError: the memory limit is none.
            InputError: the port is in use.
            ForesightError: it does not start.
        """
        problem = check_memory_limit(memory_limit)
        if problem is not None:
            raise UsageError(f"memory limit {problem}")
        program = rerun_sdk.viewer_program()
        check_port(address, port)
        self._address, self._port = address, port
        self.data_url = f"rerun+http://{_reachable(address)}:{port}/proxy"
        self.files_port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="foresight-view-")
        self.settings = Path(self._folder.name)
        self._log = self.settings / "log"
        allowed = [word for origin in origins for word in ("--cors-allow-origin", origin)]
        self._process = self._start(
            [
                *(str(program), "--serve-web", "--bind", address, "--port", str(port)),
                *("--web-viewer-port", str(self.files_port)),
                *("--server-memory-limit", memory_limit, *allowed),
            ]
        )
        self.pid = self._process.pid
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    @property
    def files_url(self) -> str:
        """Where the viewer's own page is, without a closing slash."""
        return f"http://{_reachable(self._address)}:{self.files_port}"

    def check(self) -> None:
        """Raise ForesightError where it ended."""
        code = self._process.poll()
        if code is not None:
            raise ForesightError(f"rerun's server ended (exit code {code}){self._reason()}")

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "XDG_CONFIG_HOME": self._folder.name,
            "XDG_DATA_HOME": self._folder.name,
            "NO_COLOR": "1",
        }
        opt_out = [command[0], "analytics", "disable"]
        tied = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command]
        try:
            subprocess.run(opt_out, env=environment, capture_output=True, timeout=30, check=True)
            with self._log.open("wb") as log:
                return subprocess.Popen(
                    tied,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    # Ctrl-C is for this process, which ends the server after its own work.
                    start_new_session=True,
                )
        except (OSError, subprocess.SubprocessError) as error:
            self._folder.cleanup()
            raise ForesightError(f"{command[0]} does not start: {error}") from error

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + START_LIMIT_S
        while not (self._answers(self._port) and self._answers(self.files_port)):
            self.check()
            if time.monotonic() > deadline_s:
                raise ForesightError(f"rerun's server gave no answer{self._reason()}")
            time.sleep(_POLL_S)

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection((_reachable(self._address), port), timeout=1.0):
                return True
        except OSError:
            return False

    def _reason(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1].strip()}" if lines else ""


def _reachable(address: str) -> str:
    return "127.0.0.1" if address in ("", "0.0.0.0") else address
