"""Runs `toy_training` in processes of its own that start quickly, to kill, stop and join them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from forked import context


class Ended(NamedTuple):
    code: int
    errors: str


class ToyProcess:
    """One process of `toy_training.main`."""

    def __init__(
        self, errors: Path, *arguments: object, environment: Mapping[str, str] | None = None
    ) -> None:
        self._errors = errors
        words = [str(argument) for argument in arguments]
        self._process = context.Process(target=_main, args=(words, errors, dict(environment or {})))
        self._process.start()

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self, timeout_s: float = 120) -> Ended:
        """Wait for the end."""
        self._process.join(timeout_s)
        if self._process.is_alive():
            self._process.kill()
            raise TimeoutError(f"a training process did not end within {timeout_s} s")
        assert self._process.exitcode is not None
        return Ended(self._process.exitcode, self._errors.read_text())


def run_toy(folder: Path, *arguments: object) -> Ended:
    """Run one process to its end."""
    return ToyProcess(folder.with_suffix(".errors"), folder, *arguments).end()


def start_toys(world: int, folder: Path, *arguments: object) -> list[ToyProcess]:
    """Start processes that train together, as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        ToyProcess(
            folder.with_suffix(f".errors{rank}"), folder, *arguments,
            environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(world)
    ]  # fmt: skip


def _main(words: list[str], errors: Path, environment: dict[str, str]) -> None:
    import torch
    import toy_training

    os.environ.update(environment)
    torch.set_num_threads(1)
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
        sys.argv = ["toy_training", *words]
        sys.exit(toy_training.main())
