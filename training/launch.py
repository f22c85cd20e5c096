"""Several processes of this machine, started as torchrun would, and what torchrun tells them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from dino_foresight_ros.errors import ForesightError, UsageError


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


def quieten_torch() -> None:
    """Keep PyTorch from telling each process that it looked for unused weights in vain.

    To be called before torch is imported, in the process or the one that starts it.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def launch(processes: int, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in several processes of this machine, as torchrun would.

    Args:
        processes: at least 2.
        function: of a module, with arguments that can be pickled; `joined` finds the others in it.

    Raises:
        SystemExit: a process failed, and has said why; with its exit code.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its log would bury the one line in which the failed process says what was wrong.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    quieten_torch()
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
    try:
        elastic_launch(config, _call)(function, *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code < 0:  # nobody in it could say so
            print(
                f"foresight: process {rank} of {processes} was killed by signal {-code} (9: for "
                "memory, most often); go on with --resume",
                file=sys.stderr,
            )
        sys.exit(code if code > 0 else 128 - code)
    except SignalException as error:
        sys.exit(128 + int(error.sigval))


def _call(function: Callable[..., object], *arguments: object) -> None:
    """Be one of the processes: an error is one line and an exit code, as of any command."""
    from dino_foresight_ros.process.cpu import set_up_cpu

    set_up_cpu()
    try:
        function(*arguments)
    except (ForesightError, RuntimeError) as error:
        told = error if isinstance(error, ForesightError) else lost_worker(error)
        if told is None:
            raise
        print(f"foresight: {told}", file=sys.stderr)
        sys.exit(told.exit_code)


def lost_worker(error: RuntimeError) -> ForesightError | None:
    """What to say of an error of torch's DataLoader whose reading process died; None of others.

    torch raises it in the main thread, whatever that is doing.
    """
    if "DataLoader worker" not in str(error):
        return None
    return ForesightError(
        "a process that reads data died (killed for memory, most often); go on with fewer --workers"
    )
