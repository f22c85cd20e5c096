"""Recordings and parts small enough that a stage of training takes seconds."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

import torch
from forked import ForkedProcess
from micro_bundle import make_micro_bundle

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.recordings import LABEL_KINDS, open_recordings
from dino_foresight_ros.recordings.pixels import write_pixels

DATA = "synthetic:?seeds={seeds}&frames={frames}&size=56x84"


def synthetic(seeds: str = "0", frames: int = 6) -> str:
    """Name synthetic recordings of the micro bundle's size."""
    return DATA.format(seeds=seeds, frames=frames)


def keep_rendered(spec: str, folder: Path) -> str:
    """Render synthetic recordings once; return what names them, with frames that cost nothing."""
    for recording in open_recordings([spec]):
        write_pixels(recording, recording.size, LABEL_KINDS, folder)
    return f"pixels:{folder}"


def write_micro_bundle(folder: Path) -> Path:
    """Write the micro bundle."""
    return make_micro_bundle().save(folder)


def foresight(log: Path, *arguments: object, limit_bytes: int | None = None) -> ForkedProcess:
    """Start the command line in a process of its own, with a limit to the size of its files."""
    words = [str(-1 if limit_bytes is None else limit_bytes), *map(str, arguments)]
    return ForkedProcess(_limited, words, os.environ, log)


def _limited(words: Sequence[str]) -> int:
    os.setsid()
    torch.set_num_threads(1)  # more only wait for one another: the work is tiny
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(words[0]), -1))
    return main(words[1:])


def kill(process: ForkedProcess) -> None:
    """Kill a process and its workers with SIGKILL."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
