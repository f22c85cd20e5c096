"""How much memory this process uses, and giving it back. Imports no torch by itself."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from typing import Any, NamedTuple


class MemoryUse(NamedTuple):
    """Memory in use, MB (10^6 bytes).

    Attributes:
        resident_mb: of this process, in the machine's memory.
        allocated_mb: held by tensors on the GPUs; None where no GPU is in use.
        reserved_mb: taken from the GPUs, tensors and cache together; None as above.
    """

    resident_mb: float
    allocated_mb: float | None = None
    reserved_mb: float | None = None


def resident_mb(pid: int | None = None) -> float:
    """A process's resident memory now, MB; this one's when None."""
    with open(f"/proc/{'self' if pid is None else pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def memory_use() -> MemoryUse:
    """What is in use now."""
    torch = _torch_with_gpu()
    if torch is None:
        return MemoryUse(resident_mb())
    devices = range(torch.cuda.device_count())
    allocated = sum(torch.cuda.memory_allocated(d) for d in devices)
    reserved = sum(torch.cuda.memory_reserved(d) for d in devices)
    return MemoryUse(resident_mb(), allocated / 1e6, reserved / 1e6)


def give_back_memory() -> MemoryUse:
    """Give what nothing refers to back to the system and the GPU; what is in use then."""
    gc.collect()
    torch = _torch_with_gpu()
    if torch is not None:
        torch.cuda.empty_cache()
    # Freed pieces stay with the process otherwise: glibc keeps them for later.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return memory_use()


def describe_release(before: MemoryUse, after: MemoryUse) -> str:
    """What was given back between the two, in words."""
    text = (
        f"resident memory {before.resident_mb:.0f} -> {after.resident_mb:.0f} MB "
        f"({max(before.resident_mb - after.resident_mb, 0.0):.0f} MB freed)"
    )
    if before.allocated_mb is None or after.allocated_mb is None:
        return text
    return (
        f"device memory allocated {before.allocated_mb:.0f} -> {after.allocated_mb:.0f} MB, "
        f"reserved {before.reserved_mb:.0f} -> {after.reserved_mb:.0f} MB; {text}"
    )


def _torch_with_gpu() -> Any | None:
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
