"""The processes that train together, on Lightning Fabric: one, or those that torchrun started."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype

from .fabric_import import (
    DDPStrategy,
    Fabric,
    MixedPrecision,
    ModelParallelStrategy,
    Precision,
    TorchElasticEnvironment,
)
from .launch import processes_from_environment

T = TypeVar("T")


class _Autocast(MixedPrecision):
    """Mixed precision that leaves batches alone: labels in metres keep their own format."""

    def convert_input(self, data: Any) -> Any:
        return data

    def convert_output(self, data: Any) -> Any:
        return data


def alone(device: torch.device | str = "cpu", precision: str = "float32") -> Fabric:
    """One process.

    Args:
        device: where it computes.
        precision: "auto", "float32", "bfloat16" or "float16" under autocast; weights stay float32.
    """
    device = torch.device(device)
    devices: Any = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, plugins=_precision(precision, device))


@contextmanager
def joined(
    device: str = "auto", precision: str = "float32", strategy: str = "ddp"
) -> Iterator[Fabric]:
    """Join the processes that torchrun (or `launch`) started; alone, do nothing.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N". With several processes each takes the GPU of
            its local rank.
        precision: as of `alone`.
        strategy: "ddp", a whole model in each process, or "fsdp", a part of it.

    Raises:
        UsageError: a device that is not there.
    """
    rank, world, local = processes_from_environment()
    resolved = resolve_device(device)
    if world == 1:
        yield alone(resolved, precision)
        return
    if resolved.type == "cuda":
        resolved = resolve_device(f"cuda:{local}")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    fabric = Fabric(
        accelerator=resolved.type,
        devices=here,
        num_nodes=world // here,
        strategy=_strategy(strategy, world),
        plugins=[_precision(precision, resolved), TorchElasticEnvironment()],
    )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets every process
    try:
        fabric.launch()
        yield fabric
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        raise ForesightError(
            f"process {rank} of {world} stops: another one has ended, and said why"
        ) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _precision(name: str, device: torch.device) -> Precision:
    dtype = resolve_dtype(name, device)
    if dtype is torch.float32:
        return Precision()
    return _Autocast("16-mixed" if dtype is torch.float16 else "bf16-mixed", device.type)


def _strategy(name: str, world: int) -> DDPStrategy | ModelParallelStrategy:
    if name == "fsdp":
        return ModelParallelStrategy(_shard, data_parallel_size=world, tensor_parallel_size=1)
    return DDPStrategy(find_unused_parameters=True)  # a head need not use all its weights


def _shard(objective: nn.Module, mesh: Any) -> nn.Module:
    """Give each process its part of every trained weight, gradient and average of the optimiser."""
    from torch.distributed.fsdp import fully_shard

    frozen = {weight for weight in objective.parameters() if not weight.requires_grad}
    more: dict[str, Any] = {"ignored_params": frozen} if frozen else {}  # since PyTorch 2.7
    fully_shard(objective, mesh=mesh["data_parallel"], **more)
    return objective


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error)
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, distributed.DistBackendError) or any(sign in text for sign in signs)


def agree(fabric: Fabric, work: Callable[[], T]) -> T:
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
    failures = [failure for failure in gather(fabric, error) if failure is not None]
    if failures:
        raise fail(fabric, failures[0])
    return cast(T, result)


def gather(fabric: Fabric, value: T) -> list[T]:
    """Every process's value, by rank."""
    if fabric.world_size == 1:
        return [value]
    values: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(values, value)
    return values


def sum_over(fabric: Fabric, values: Tensor) -> Tensor:
    """Sum of every process's values, the same in all of them; float64, on the CPU."""
    total: Any = fabric.all_reduce(
        values.detach().to(fabric.device, torch.float64), reduce_op="sum"
    )
    return cast(Tensor, total.cpu())


def fail(fabric: Fabric, error: ForesightError) -> ForesightError:
    """Choose what to raise where all processes fail alike: one line, not one per process.

    Raises:
        SystemExit: with the error's exit code, in every process but the main one.
    """
    if not fabric.is_global_zero:
        sys.exit(error.exit_code)
    return error
