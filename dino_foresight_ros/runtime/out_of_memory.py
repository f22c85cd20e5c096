"""What to do when the device runs out of memory: free what can be freed, and try once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.process.memory import give_back_memory

T = TypeVar("T")

# What allocators say whose errors are plain RuntimeErrors: the CPU's, CUDA's own, cuBLAS's.
_WORDS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


class DeviceMemoryError(ForesightError):
    """The device had no memory for a frame, also after everything unused was given back."""

    drop_reason = DropReason.OUT_OF_MEMORY


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def retry_out_of_memory(work: Callable[[], T]) -> T:
    """The work's value; tried once more, after freeing, where memory ran out.

    Args:
        work: may be run again after it failed.

    Raises:
        DeviceMemoryError: memory ran out both times.
    """
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Not inside the handler: the error's traceback keeps the failed run's tensors alive.
    give_back_memory()
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    raise DeviceMemoryError(
        f"out of memory, also after freeing ({reason}); use fewer steps, a smaller output_size "
        "or a 16-bit dtype, or end other programs on the device"
    )
