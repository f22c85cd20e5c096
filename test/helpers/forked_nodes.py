"""Programs whose nodes start at once: forks of their own process, with all their imports done.

To be run as a `ForkedProcess`.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from dino_foresight_ros.benchmark import live
from dino_foresight_ros.cli.main import main
from dino_foresight_ros.demo import processes
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.process.die_with_parent import PR_SET_PDEATHSIG


class ForkedNode:
    """What the demo uses of subprocess.Popen, for `... -m MODULE ARGUMENTS`."""

    def __init__(
        self, command: Sequence[str], stdout: IO[bytes], env: Mapping[str, str], **_others: Any
    ) -> None:
        place = command.index("-m")
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(command[place + 1], list(command[place + 2 :]), stdout, env)

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, timeout: float) -> int:
        deadline_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline_s:
                raise subprocess.TimeoutExpired([], timeout)
            time.sleep(0.02)
        return code


def _become(module: str, arguments: list[str], log: IO[bytes], env: Mapping[str, str]) -> None:
    """Run a node's main function in this process, to its end."""
    code = 1
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(env)
        program = importlib.import_module(module)
        sys.argv = [str(program.__file__), *arguments]
        code = program.main(arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


def fork_nodes() -> None:
    """From now on let `NodeProcess` fork this process, which must run nothing yet."""
    popen: Any = SimpleNamespace(**vars(subprocess) | {"Popen": ForkedNode})
    processes.subprocess = popen  # type: ignore[attr-defined]


def foresight(words: Sequence[str]) -> int:
    """The command line; the first word names the file that takes standard error."""
    with Path(words[0]).open("wb") as errors:
        os.dup2(errors.fileno(), sys.stderr.fileno())
    fork_nodes()
    return main(words[1:])


def measure_live(words: Sequence[str]) -> int:
    """`live.measure_live` of the case in the first word, after a warm-up of so many seconds.

    What is found goes to the output as JSON; or the error, with exit code 1.
    """
    case = json.loads(words[0])
    live.WARM_UP_S, live.FRAMES = float(words[1]), 2
    fork_nodes()
    try:
        found = live.measure_live(live.LiveCase(**case))
    except ForesightError as error:
        print(error)
        return 1
    print(json.dumps(vars(found) | {"latency_ms": found.latency_ms.tolist()}))
    return 0
