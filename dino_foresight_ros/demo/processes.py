"""The demo's nodes as processes, which are started, watched and always ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dino_foresight_ros.closeable import Closeable
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.process import die_with_parent

ParameterValue = bool | int | float | str | list[str]

# How long a node may take to end after each of these.
_ENDING = ((signal.SIGINT, 15.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
_BLOCK_LINES = 8
_LOG_LINE = re.compile(r"\[(?P<level>\w+)\] \[[\d.]+\] \[[^\]]*\]: (?P<text>.*)")


class NodeFailedError(ForesightError):
    """A node of the demo ended, hung or never started."""


class LogLine(NamedTuple):
    """A line of a node's log: `level` is "INFO", "WARN", ... or empty for other output."""

    level: str
    text: str


def node_command(name: str, parameters: Mapping[str, ParameterValue]) -> list[str]:
    """The command that runs one of the package's nodes with ROS parameters set."""
    module = f"dino_foresight_ros.nodes.{name.removesuffix('_node')}.node"
    command = [sys.executable, "-m", module, "--ros-args"]
    for key, value in parameters.items():
        # JSON is YAML, which ROS takes: a path stays a string whatever is in it.
        command += ["-p", f"{key}:={json.dumps(value)}"]
    return command


class NodeProcess:
    """One node in a process of its own, its output in a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_path: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Start it.

        Args:
            name: of the node.
            command: absolute path of the program, and its arguments.
            log_path: the file that takes what it prints; replaced.
            environment: its environment variables.
        """
        self.name = name
        self.log_path = log_path
        # Isolated and without site-packages: it replaces itself, it must only be quick.
        tied = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *command]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                tied,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"},
                # Its own group: Ctrl-C reaches the demo alone, which ends the nodes in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """End the node, by force where it does not obey, and return its exit code."""
        for number, patience_s in _ENDING:
            if self._process.poll() is not None:
                break
            self._signal(number)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        # Whatever the node itself started lives in its group.
        self._signal(signal.SIGKILL)
        code = self._process.poll()
        return -signal.SIGKILL if code is None else code

    def interrupt(self) -> None:
        """Ask the node to end, as Ctrl-C would."""
        if self._process.poll() is None:
            self._signal(signal.SIGINT)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def log(self) -> list[LogLine]:
        """The newest part of what the node printed."""
        with self.log_path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 65536))
            text = file.read().decode("utf-8", errors="replace")
        lines = []
        for line in text.splitlines():
            match = _LOG_LINE.match(line)
            lines.append(LogLine(match["level"], match["text"]) if match else LogLine("", line))
        return [line for line in lines if line.text.strip()]

    def failure(self, what: str) -> ForesightError:
        """An error that says what happened and shows why, from the node's own log.

        A reason that the node gave itself is one line; otherwise the last lines of its log follow.
        """
        log = self.log()
        reasons = [line.text for line in log if line.level in ("ERROR", "FATAL")]
        own = [line.text for line in log if line.text.startswith(f"{self.name}: ")]
        if reasons or own:
            reason = reasons[-1] if reasons else own[-1].split(": ", 1)[1]
            text = f"{self.name}: {reason}"
        else:
            block = "".join(f"\n    {line.text}" for line in log[-_BLOCK_LINES:])
            text = f"{self.name} {what}; its last lines ({self.log_path}):{block or ' none'}"
        if self.exit_code == UsageError.exit_code:
            return UsageError(text)
        return NodeFailedError(text)

    def ended(self) -> ForesightError:
        """The error for a node that ended when it should not have."""
        code = self.exit_code
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"exited {code}"
        return self.failure(how)


class NodeGroup(Closeable):
    """Nodes that live no longer than the `with` block."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]) -> None:
        self._log_dir = log_dir
        self._environment = dict(environment)
        self._nodes: list[NodeProcess] = []

    def start(self, name: str, parameters: Mapping[str, ParameterValue]) -> NodeProcess:
        """Start a node."""
        command = node_command(name, parameters)
        node = NodeProcess(name, command, self._log_dir / f"{name}.log", self._environment)
        self._nodes.append(node)
        return node

    def check(self) -> None:
        """Raise the reason where a node ended with an error."""
        for node in self._nodes:
            if node.exit_code:
                # The last lines may still be on their way to the file.
                time.sleep(0.1)
                raise node.ended()

    def close(self) -> None:
        """End the nodes, the last one first."""
        for node in reversed(self._nodes):
            node.interrupt()
        for node in reversed(self._nodes):
            node.stop()
