"""Names of devices and number formats, as parameters and arguments give them."""

from __future__ import annotations

from pathlib import Path

import torch

from dino_foresight_ros.errors import UsageError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "cuda:N" into a device that exists.

    Raises:
        UsageError: an unknown name or a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or (kind == "cpu" and index):
        raise UsageError(f"device '{name}' is unknown; valid: auto, cpu, cuda, cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            have = "no CUDA device" if not count else f"cuda:0 to cuda:{count - 1}"
            raise UsageError(f"device '{name}' does not exist here (found {have}); use auto or cpu")
    return torch.device(name)


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
