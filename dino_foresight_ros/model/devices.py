"""Names of devices and number formats, as parameters and arguments give them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from dino_foresight_ros.errors import UsageError, describe
from dino_foresight_ros.progress import warn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str, on_warning: Callable[[str], None] = warn) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device that exists and computes.

    "auto" is the first GPU that the installed torch computes on, else the CPU.

    Args:
        name: as parameters and arguments give it.
        on_warning: is told of each GPU that "auto" passes over, and why.

    Raises:
        UsageError: an unknown name, or a device that this machine does not have or cannot use.
    """
    if name == "auto":
        return _first_gpu(on_warning) or torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or (kind == "cpu" and index):
        raise UsageError(f"device '{name}' is unknown; valid: auto, cpu, cuda, cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            have = "no CUDA device" if not count else f"cuda:0 to cuda:{count - 1}"
            raise UsageError(f"device '{name}' does not exist here (found {have}); use auto or cpu")
        reason = why_unusable(int(index or 0))
        if reason is not None:
            raise UsageError(f"device '{name}': {reason}; use device:=cpu (--device cpu)")
    return torch.device(name)


def _first_gpu(on_warning: Callable[[str], None]) -> torch.device | None:
    with warnings.catch_warnings():
        # Torch tells of an old driver in a paragraph; the CPU serves then, too.
        warnings.simplefilter("ignore")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(count):
        reason = why_unusable(index)
        if reason is None:
            return torch.device(f"cuda:{index}" if index else "cuda")
        on_warning(f"{reason}; it is not used")
    return None


@functools.cache
def why_unusable(index: int) -> str | None:
    """Why the installed torch cannot compute on a GPU; None where it can, as a kernel proves.

    A GPU may be there, with its driver, and be older or newer than every GPU that this torch was
    built for.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the same in several paragraphs
            _run_kernel(index)
        return None
    except (RuntimeError, AssertionError) as error:
        failure = describe(error).split(" CUDA kernel errors", 1)[0]
    major, minor = torch.cuda.get_device_capability(index)
    card, arch = f"{torch.cuda.get_device_name(index)} (cuda:{index})", f"sm_{major}{minor}"
    built_for = torch.cuda.get_arch_list()
    if arch in built_for or "no kernel image" not in failure:
        return f"{card} gives no result: {failure}"
    return (
        f"torch {torch.__version__} has no kernels for {card}, which is {arch}; it has those of "
        f"{', '.join(built_for) or 'none'}"
    )


def _run_kernel(index: int) -> None:
    """Add on the GPU, and wait for the sum."""
    one = torch.ones(1, device=f"cuda:{index}")
    (one + one).item()


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn "auto", "float32", "bfloat16" or "float16" into a dtype.

    auto is 16 bits where the hardware multiplies matrices in it: on a GPU (bfloat16 where it has
    it), and bfloat16 on a CPU with AMX (a live update then takes a third of the time). Otherwise
    float32.

    Raises:
        UsageError: an unknown name.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise UsageError(f"dtype '{name}' is unknown; valid: auto, {', '.join(DTYPES)}")
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if _has_amx() else torch.float32


def _has_amx() -> bool:
    """Whether this CPU has tile registers for bfloat16, and the system lets programs use them."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags and "amx_tile" in flags
