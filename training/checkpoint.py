"""Checkpoints without pickle: one safetensors file holds tensors and, in its header, the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dino_foresight_ros.errors import BundleError, ForesightError
from dino_foresight_ros.model.weights import load_strict

LAST = "last.safetensors"
BEST = "best.safetensors"
_STATE = "state"
_SCHEMA = 1


@dataclass
class RunState:
    """What a run needs besides tensors to go on as if it had never stopped.

    Attributes:
        step: optimiser steps done.
        elapsed_s: seconds of the budget used.
        best_score: highest score of an evaluation so far.
        best_step: the step after which it was reached.
        scaler: state of the gradient scaler, where there is one.
        fingerprint: of what the run was started with.
    """

    step: int = 0
    elapsed_s: float = 0.0
    best_score: float | None = None
    best_step: int | None = None
    scaler: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""


def write_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with a header text, replacing an older one whole or not at all.

    Raises:
        ForesightError: it cannot be written; an older file stays as it was.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
            scratch,
            metadata=dict(metadata),
        )
        scratch.chmod(0o644)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ForesightError(f"{path} cannot be written: {reason}") from error
    finally:
        scratch.unlink(missing_ok=True)


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_file` wrote: tensors and header.

    Raises:
        BundleError: no such file, or a damaged one.
    """
    if not path.is_file():
        raise BundleError(f"{path} is missing: there is no checkpoint to go on from")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BundleError(f"{path} is not a whole checkpoint ({reason})") from error


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor of which each process holds a part; all of them call this, in one order."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def save_checkpoint(
    path: Path | None,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: nn.Module | None,
    state: RunState,
) -> None:
    """Write model, optimiser, averaged model and state; every process calls it.

    Args:
        path: None where another process writes.
        model, optimiser, averaged, state: what is kept.

    Raises:
        ForesightError: the disk is full or the folder read-only; the older checkpoint stays.
    """
    tensors = {f"model.{name}": whole(tensor) for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{key}.{name}"] = whole(torch.as_tensor(value))
    if path is None:
        return
    for name, tensor in averaged.state_dict().items() if averaged is not None else ():
        tensors[f"averaged.{name}"] = tensor
    # Tensors of one memory (tied weights, views) are refused by the format.
    tensors = {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
    write_file(path, tensors, {"schema": str(_SCHEMA), _STATE: json.dumps(asdict(state))})


@dataclass(frozen=True)
class Checkpoint:
    """What `save_checkpoint` wrote.

    Attributes:
        path: of the file.
        tensors: by name; "model.", "optimiser." and "averaged." stand before the names.
        state: of the run.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    state: RunState

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without that."""
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}

    def load_model(self, model: nn.Module) -> None:
        """Give the model its weights.

        Raises:
            BundleError: they are another model's.
        """
        load_strict(model, self.part("model."), str(self.path))

    def load_averaged(self, model: nn.Module) -> None:
        """Give the averaged model its weights.

        Raises:
            BundleError: there are none, or others.
        """
        averaged = self.part("averaged.")
        if set(averaged) != set(model.state_dict()):
            raise BundleError("the checkpoint was made without (or with other) averaged weights")
        model.load_state_dict(averaged)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        BundleError: there is none, it is damaged, or another version wrote it.
    """
    tensors, metadata = read_file(path)
    if metadata.get("schema") != str(_SCHEMA):
        raise BundleError(
            f"{path} has checkpoint schema {metadata.get('schema')}, this version reads {_SCHEMA}"
        )
    return Checkpoint(path, tensors, RunState(**json.loads(metadata[_STATE])))


def restore_optimiser(
    checkpoint: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Give the optimiser its state.

    Raises:
        BundleError: it is of weights that the model lacks.
    """
    parameters = dict(model.named_parameters())
    for name, tensor in checkpoint.part("optimiser.").items():
        key, _, parameter = name.partition(".")
        if parameter not in parameters:
            raise BundleError(
                f"{checkpoint.path}: optimiser state of {parameter}, which the model lacks"
            )
        target = parameters[parameter]
        # Adam keeps its step counters on the CPU.
        tensor = tensor.to("cpu" if key == "step" else target.device)
        if isinstance(target, DTensor) and tensor.shape == target.shape:
            tensor = distribute_tensor(tensor, target.device_mesh, target.placements)
        optimiser.state[target][key] = tensor
