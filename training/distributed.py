"""One process or many: the same code under torchrun, under `--processes N`, or alone."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model.devices import resolve_device

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        device: where this process computes.
        rank: 0 to world - 1, over all machines.
        world: number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum of every process's values, the same in all of them; float64, on the CPU."""
        total = values.detach().to(self.device, torch.float64)
        if self.world > 1:
            distributed.all_reduce(total)
        return total.cpu()

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, work: Callable[[], T]) -> T:
        """Do work in every process, and go on only where it went well in all of them.

        Raises:
            ForesightError: the first process's in which it failed, once.
        """
        error: ForesightError | None = None
        result: T | None = None
        try:
            result = work()
        except ForesightError as failure:
            error = failure
        if self.world > 1:
            failures = [failure for failure in self.gather(error) if failure is not None]
            error = failures[0] if failures else None
        if error is not None:
            raise self.fail(error)
        return cast(T, result)

    def fail(self, error: ForesightError) -> ForesightError:
        """Choose what to raise where all processes fail alike: one line, not one per process.

        Raises:
            SystemExit: with the error's exit code, in every process but the main one.
        """
        if not self.is_main:
            sys.exit(error.exit_code)
        return error


def processes_from_environment() -> tuple[int, int, int]:
    """Return (rank, world, local rank) as torchrun sets them; (0, 1, 0) without it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1, 0
    try:
        rank, world, local = (int(os.environ.get(name, "0")) for name in names)
    except ValueError as error:
        raise UsageError(f"RANK, WORLD_SIZE and LOCAL_RANK must be integers ({error})") from error
    return rank, world, local


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that torchrun (or `launch`) started; alone, do nothing.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N". With several processes each takes the GPU of
            its local rank.

    Raises:
        UsageError: a device that is not there.
    """
    rank, world, local = processes_from_environment()
    resolved = resolve_device(device)
    if world == 1:
        yield Processes(resolved)
        return
    if resolved.type == "cuda":
        resolved = resolve_device(f"cuda:{local}")
        torch.cuda.set_device(resolved)
    distributed.init_process_group("nccl" if resolved.type == "cuda" else "gloo")
    try:
        yield Processes(resolved, rank, world)
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        raise ForesightError(
            f"process {rank} of {world} stops: another one has ended, and said why"
        ) from error
    finally:
        distributed.destroy_process_group()


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error)
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, distributed.DistBackendError) or any(sign in text for sign in signs)


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `foresight ARGUMENTS` in several processes of this machine, as torchrun would.

    Args:
        processes: at least 2.
        arguments: the command line without "foresight" and without --processes.

    Returns:
        0, or the exit code of the process that failed first; it has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its log would bury the one line in which the failed process says what was wrong.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=f"foresight-{os.getpid()}",
        max_restarts=0,
    )
    command = [sys.executable, "-m", "dino_foresight_ros.cli.main", *arguments]
    try:
        elastic_launch(config, command[0])(*command[1:])
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
