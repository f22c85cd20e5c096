"""Safetensors on disk, loaded strictly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dino_foresight_ros.errors import BundleError

M = TypeVar("M", bound=nn.Module)


class Digest(Protocol):
    """A hash of hashlib."""

    def update(self, data: Any, /) -> None:
        """Take in bytes."""


_SETS_VALUES = {
    "add_",
    "clamp_",
    "div_",
    "erfinv_",
    "fill_",
    "mul_",
    "normal_",
    "uniform_",
    "zero_",
}


class _WithoutInitialisation(TorchFunctionMode):
    """Leave tensors without memory as they are where a module initialises them.

    Drawing for them would do nothing, and load torch's compiler, which takes seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Give the tensor back, of functions that set values; call every other."""
        kwargs = kwargs or {}
        is_initialisation = getattr(func, "__module__", None) == "torch.nn.init"
        if is_initialisation or getattr(func, "__name__", "") in _SETS_VALUES:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


def empty(build: Callable[[], M]) -> M:
    """Build a module without memory or initialisation; `load_strict` gives it its tensors.

    A module with tensors that no state dict holds (the frequencies of rotary embeddings), or that
    cannot be built without memory, is built in full.
    """
    try:
        with torch.device("meta"), _WithoutInitialisation():
            module = build()
    except Exception:  # noqa: BLE001 - whatever is wrong with it in truth is told below
        return build()
    kept = module.state_dict().keys()
    left_out = any(name not in kept for name, _ in module.named_buffers())
    loose = any(isinstance(v, Tensor) for part in module.modules() for v in vars(part).values())
    return build() if left_out or loose else module


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        BundleError: the file is missing, damaged, or holds values that are not finite.
    """
    if not path.is_file():
        raise BundleError(f"{path} is missing; convert or copy the bundle again")
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise BundleError(
            f"{path} is not a whole safetensors file ({str(error).splitlines()[0]}); "
            "convert or copy the bundle again"
        ) from error
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise BundleError(
                f"{path}: tensor {name} holds NaN or infinity; the weights are damaged"
            )
    return tensors


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; in one pass, as both reach the extremes."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(math.isfinite(float(extreme)) for extreme in torch.aminmax(tensor))


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; tensors that share storage must not overlap."""
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes files that only their owner reads


def add_to_digest(digest: Digest, tensors: Mapping[str, Tensor]) -> None:
    """Let a hash change with any name, shape, number format and value of tensors."""
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], part: str) -> None:
    """Load every tensor into a module.

    A module made by `empty` takes the tensors as they are, without a copy; any other copies them
    in its own number format.

    Raises:
        BundleError: a tensor is missing, left over, or has another shape; names it, and both
            shapes.
    """
    want = module.state_dict()
    for name, tensor in want.items():
        if name not in tensors:
            raise BundleError(f"{part}: tensor {name} {tuple(tensor.shape)} is missing")
        if tensors[name].shape != tensor.shape:
            raise BundleError(
                f"{part}: tensor {name} has shape {tuple(tensors[name].shape)}, "
                f"the model expects {tuple(tensor.shape)}"
            )
    left_over = sorted(set(tensors) - set(want))
    if left_over:
        shape = tuple(tensors[left_over[0]].shape)
        raise BundleError(
            f"{part}: tensor {left_over[0]} {shape} belongs to nothing in the model"
            + (f" (and {len(left_over) - 1} more)" if len(left_over) > 1 else "")
        )
    is_empty = any(tensor.is_meta for tensor in want.values())
    module.load_state_dict(dict(tensors), assign=is_empty)
