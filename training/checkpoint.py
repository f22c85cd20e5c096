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

from dino_foresight_ros.errors import BundleError, ForesightError

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


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: Mapping[str, Tensor] | None,
    state: RunState,
) -> None:
    """Write model, optimiser, averaged weights and state.

    Raises:
        ForesightError: the disk is full or the folder read-only; the older checkpoint stays.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    names = {id(p): name for name, p in model.named_parameters()}
    for parameter, values in optimiser.state.items():
        for key, value in values.items():
            tensors[f"optimiser.{key}.{names[id(parameter)]}"] = torch.as_tensor(value)
    for name, tensor in (averaged or {}).items():
        tensors[f"averaged.{name}"] = tensor
    # Tensors of one memory (tied weights, views) are refused by the format.
    tensors = {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}
    write_file(path, tensors, {"schema": str(_SCHEMA), _STATE: json.dumps(asdict(state))})


def load_checkpoint(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], RunState]:
    """Restore model and optimiser in place.

    Returns:
        The averaged weights (empty without any) and the state.

    Raises:
        BundleError: no checkpoint, a damaged one, or one of another model.
    """
    from dino_foresight_ros.model.weights import load_strict

    tensors, metadata = read_file(path)
    if metadata.get("schema") != str(_SCHEMA):
        raise BundleError(
            f"{path} has checkpoint schema {metadata.get('schema')}, this version reads {_SCHEMA}"
        )
    load_strict(model, _part(tensors, "model."), str(path))
    parameters = dict(model.named_parameters())
    for name, tensor in _part(tensors, "optimiser.").items():
        key, _, parameter = name.partition(".")
        if parameter not in parameters:
            raise BundleError(f"{path}: optimiser state of {parameter}, which the model lacks")
        target = parameters[parameter]
        # Adam keeps its step counters on the CPU.
        device = torch.device("cpu") if key == "step" else target.device
        optimiser.state[target][key] = tensor.to(device)
    return _part(tensors, "averaged."), RunState(**json.loads(metadata[_STATE]))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
