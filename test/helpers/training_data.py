"""Recordings and parts small enough that a stage of training takes seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from micro_bundle import make_micro_bundle

DATA = "synthetic:?seeds={seeds}&frames={frames}&size=56x84"


def synthetic(seeds: str = "0", frames: int = 6) -> str:
    """Name synthetic recordings of the micro bundle's size."""
    return DATA.format(seeds=seeds, frames=frames)


def write_micro_bundle(folder: Path) -> Path:
    """Write the micro bundle."""
    return make_micro_bundle().save(folder)


def foresight(*arguments: object, limit_bytes: int | None = None) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, with a limit to the size of its files."""
    code = "import sys; from dino_foresight_ros.cli import main; sys.exit(main())"
    if limit_bytes is not None:
        limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({limit_bytes}, -1))"
        code = f"{limit}; {code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and its workers with SIGKILL."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
