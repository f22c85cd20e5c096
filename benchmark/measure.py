"""Clocks, percentiles, memory and the machine's name."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dino_foresight_ros.process.cpu import cpu_name


@dataclass(frozen=True)
class Timing:
    """Wall times of one thing.

    Attributes:
        p50_ms, p99_ms: median and 99th percentile, milliseconds.
        count: how many times it ran.
    """

    p50_ms: float
    p99_ms: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarise wall times in seconds."""
        p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
        return cls(float(p50), float(p99), len(seconds))


def wait(device: torch.device) -> None:
    """Wait until the device has done everything that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of one run, to the end of the device's work."""
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attention in one run."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return int(counter.get_total_flops())


def matmul_rate(device: torch.device, dtype: torch.dtype, repeats: int = 15) -> float:
    """Operations per second of a plain (2048 x 2048) matrix product; the median run."""
    side = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)

    def product() -> None:
        torch.mm(a, b, out=out)

    product()
    seconds = float(np.median([clock(product, device) for _ in range(repeats)]))
    return 2 * side**3 / seconds


def peak_mb(device: torch.device) -> float:
    """The most memory used so far, MB: the device's on a GPU, this process's otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def machine(device: torch.device) -> dict[str, object]:
    """What a figure depends on."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
