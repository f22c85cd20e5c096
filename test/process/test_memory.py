"""Memory is measured, given back, and said."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dino_foresight_ros.process.memory import (
    MemoryUse,
    describe_release,
    give_back_memory,
    memory_use,
    resident_mb,
)


def test_resident_memory_is_the_kernels_own_number() -> None:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    assert abs(resident_mb() - int(line.split()[1]) * 1.024 * 1e-3) < 5.0


@pytest.mark.slow
def test_many_small_freed_pieces_go_back_to_the_system() -> None:
    # Small ones, which glibc keeps for the process, with one left at the end of the heap.
    pieces = [np.ones(8000, np.uint8) for _ in range(20_000)]
    full = memory_use().resident_mb
    last = pieces[-1]
    del pieces
    after = give_back_memory()
    assert full - after.resident_mb > 120.0
    assert last.sum() == 8000


def test_without_a_gpu_only_resident_memory_is_told() -> None:
    text = describe_release(MemoryUse(912.4), MemoryUse(300.0))
    assert text == "resident memory 912 -> 300 MB (612 MB freed)"


def test_growth_is_not_called_freed() -> None:
    assert "(0 MB freed)" in describe_release(MemoryUse(300.0), MemoryUse(310.0))


def test_gpu_memory_is_told_first() -> None:
    text = describe_release(MemoryUse(900.0, 512.0, 700.0), MemoryUse(880.0, 0.0, 2.0))
    assert text.startswith("device memory allocated 512 -> 0 MB, reserved 700 -> 2 MB; resident")


class FakeCuda:
    """What is asked of torch.cuda, on a machine with two GPUs."""

    def __init__(self) -> None:
        self.allocated = [400e6, 100e6]
        self.reserved = [600e6, 200e6]

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def memory_allocated(self, device: int) -> int:
        return int(self.allocated[device])

    def memory_reserved(self, device: int) -> int:
        return int(self.reserved[device])

    def empty_cache(self) -> None:
        self.reserved = list(self.allocated)


def test_memory_of_every_gpu_counts_and_its_cache_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=FakeCuda()))
    assert memory_use()[1:] == (500.0, 800.0)
    assert give_back_memory()[1:] == (500.0, 500.0)
