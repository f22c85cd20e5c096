"""forecast_node with a model that fails on demand: a frame of one colour says how.

Everything but the encoder's pass is the product's own. The colours survive resizing, and no
other picture has only one.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.nodes.forecast import node as forecast_node
from dino_foresight_ros.nodes.forecast import pipeline

NAN = (200, 0, 0)
NO_MEMORY_ONCE = (0, 200, 0)
NO_MEMORY = (0, 0, 200)
SLOW = (200, 0, 200)
BEGAN, ENDED = "the slow pass began", "the slow pass ended"
LONGEST_S = 300.0


def end_file(pid: int) -> Path:
    """A slow pass of a process goes on until there is this file."""
    return Path(tempfile.gettempdir(), f"foresight_end_slow_pass_{pid}")


class FailingEncoder:
    """Stands around the encoder's pass."""

    def __init__(self, encoder: Any) -> None:
        mean, std = encoder.config.mean, encoder.config.std
        self._mean = torch.tensor(mean).view(3, 1, 1)
        self._std = torch.tensor(std).view(3, 1, 1)
        self._failed_once = False
        encoder.register_forward_pre_hook(self._before)
        encoder.register_forward_hook(self._after)

    def _color(self, pixels: Tensor) -> tuple[int, ...] | None:
        """The colour of the first picture of (B, 3, H, W); None where it has several."""
        values = (pixels[0].float().cpu() * self._std + self._mean) * 255
        low, high = values.amin((1, 2)), values.amax((1, 2))
        return tuple(round(float(v)) for v in low) if float((high - low).max()) < 1 else None

    def _before(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        color = self._color(inputs[0])
        if color == NO_MEMORY or (color == NO_MEMORY_ONCE and not self._failed_once):
            self._failed_once = True
            torch.empty(1 << 60, dtype=torch.uint8, device=inputs[0].device)
        if color == SLOW:
            print(BEGAN, flush=True)
            until, a = time.monotonic() + LONGEST_S, torch.randn(1200, 1200)
            end = end_file(os.getpid())
            while time.monotonic() < until and not end.exists():
                a = torch.mm(a, a).clamp(-1, 1)
            end.unlink()
            print(ENDED, flush=True)

    def _after(self, _module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return output * torch.nan if self._color(inputs[0]) == NAN else None


def main(arguments: Sequence[str]) -> int:
    load_engine = pipeline.load_engine

    def load_and_hook(*arguments: Any) -> Any:
        loaded = load_engine(*arguments)
        FailingEncoder(loaded.engine.bundle.encoder)
        return loaded

    pipeline.load_engine = load_and_hook
    return forecast_node.main(arguments)
