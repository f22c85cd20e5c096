"""Progress lines, and running a tool with its output in a log file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

STILL_BUSY_INTERVAL_S = 20.0


class PreparationError(Exception):
    """What was wrong and what to do, in one line."""


class ToolError(PreparationError):
    """A tool failed; ``output`` is all that it printed."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


def say(text: str) -> None:
    """Print a line of progress; stdout belongs to the command that is about to run."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def stage(number: int, total: int, name: str) -> Iterator[None]:
    """Say that a stage begins, and how many seconds it took."""
    say(f"[{number}/{total}] {name} ...")
    start = time.monotonic()
    yield
    say(f"[{number}/{total}] {name}: done in {time.monotonic() - start:.1f} s")


def wait(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait for a tool, saying now and then that it still runs."""
    start = time.monotonic()
    while True:
        try:
            return process.wait(timeout=STILL_BUSY_INTERVAL_S)
        except subprocess.TimeoutExpired:
            say(f"      ... {time.monotonic() - start:.0f} s (log: {log})")


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    failure: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a tool with its output in ``log`` and return that output.

    Raises ToolError, which starts with ``failure`` and names the log, when the tool fails.
    """
    with log.open("wb") as file:
        # close_fds=False: the tool inherits the lock, so that a tool that outlives a killed
        # preparation still keeps the next preparation waiting.
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            close_fds=False,
        )
        code = wait(process, log)
    output = log.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        raise ToolError(f"{failure} (log: {log})", output)
    return output
