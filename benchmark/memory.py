"""Resident memory over many updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
from dino_foresight_ros.process.memory import resident_mb
from dino_foresight_ros.runtime import Foresight

from .engine import Case, images
from .sizes import build

WARM_UP = 200
"""Updates before the first reading: allocators and thread pools settle."""


@dataclass(frozen=True)
class Growth:
    """Resident memory of the process, MB, after the warm-up and after all updates."""

    updates: int
    before_mb: float
    after_mb: float

    @property
    def growth_mb(self) -> float:
        """How much came on top."""
        return self.after_mb - self.before_mb


def measure_growth(
    case: Case, updates: int, progress: Callable[[int], None] = lambda done: None
) -> Growth:
    """Feed a 30 Hz camera whose picture changes size half-way; read memory before and after."""
    device = resolve_device(case.device)
    bundle = build(case.size).to(device, resolve_dtype(case.dtype, device))
    engine = Foresight(bundle, steps=case.steps)
    clip = images(3)
    smaller = [image[::2, ::2] for image in clip]
    before = 0.0
    for i in range(WARM_UP + updates):
        frames = clip if i % 2000 < 1000 else smaller
        engine.update(frames[i % 3], 10**18 + i * 33_333_333)
        if i == WARM_UP - 1:
            before = resident_mb()
        if i % 500 == 0:
            progress(i)
    return Growth(updates, before, resident_mb())
