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


class Progress:
    """Prints one line as a stage with work to do starts, and one as it ends."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.name = ""

    @contextmanager
    def stage(self, name: str, short_name: str = "") -> Iterator[None]:
        """Number a stage, and print how many seconds it took."""
        self.number += 1
        prefix = f"[{self.number}/{self.total}]"
        print(f"{prefix} {name} ...", file=sys.stderr, flush=True)
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        print(
            f"{prefix} {short_name or name}: ready ({seconds:.1f} s)", file=sys.stderr, flush=True
        )


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
    start = next_report = time.monotonic()
    next_report += STILL_BUSY_INTERVAL_S
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
        while True:
            try:
                code = process.wait(timeout=max(0.05, next_report - time.monotonic()))
                break
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - start
                print(f"      ... {seconds:.0f} s (log: {log})", file=sys.stderr, flush=True)
                next_report += STILL_BUSY_INTERVAL_S
    output = log.read_text(encoding="utf-8", errors="replace")
    if code != 0:
        raise ToolError(f"{failure} (log: {log})", output)
    return output
