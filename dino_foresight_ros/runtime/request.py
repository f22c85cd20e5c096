"""Requests: which outputs of a frame's forecast somebody wants, and at what size."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import MAX_OUTPUT_SIDE, SAMPLE_OUTPUTS

Outputs = frozenset[str] | Mapping[int, frozenset[str]]
"""Names of outputs of every predicted step, or by step: 1, 2, ..., and 0, the newest frame."""

OutputSize = tuple[int, int] | Literal["input"] | None
"""(height, width) pixels, "input" for the size of the frame's image, None for patch grid x 8."""

MotionRows = tuple[tuple[float, float, float], ...]
"""(dx, dy, dyaw) of the base until each horizon: m forward, m to the left, rad to the left."""


@dataclass(frozen=True)
class OutputRequest:
    """What to compute from one frame.

    Attributes:
        outputs: names of outputs, for every predicted step or by step; no name at all makes the
            frame a part of the context only.
        size: of the maps.
        ahead_s: horizons of step 1, 2, ..., seconds from the frame; the engine's own when None.
        samples: how many futures to draw; the engine's own when None.
        sample_outputs: what to compute of each future by itself, where there are several:
            segmentation, depth, instances.
        motion: (dx, dy, dyaw) of the base from the frame until each of the horizons, metres
            forward and to the left, radians to the left; None where it is not known.
        focal: focal length of the camera, as `CameraView.focal` has it, which metric depth may
            need; None where it is not known.

    Raises:
        UsageError: an impossible step or size.
    """

    outputs: Outputs
    size: OutputSize = None
    ahead_s: tuple[float, ...] | None = None
    samples: int | None = None
    sample_outputs: frozenset[str] = frozenset()
    motion: MotionRows | None = None
    focal: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.outputs, str):
            raise UsageError(f"outputs are the text {self.outputs!r}; give a set of names")
        for step in self.outputs if isinstance(self.outputs, Mapping) else ():
            if not is_whole(step) or step < 0:
                raise UsageError(
                    f"outputs are requested of step {step}; steps count from 1, 0 is the newest "
                    "frame"
                )
        if self.size not in (None, "input") and (
            not isinstance(self.size, tuple)
            or len(self.size) != 2
            or not all(is_whole(side) and 1 <= side <= MAX_OUTPUT_SIDE for side in self.size)
        ):
            raise UsageError(
                f"output_size is {self.size!r}; it must be (height, width) of 1 to "
                f'{MAX_OUTPUT_SIDE} pixels, "input", or None for patch grid x 8'
            )
        if self.focal is not None and not 0.0 < self.focal < math.inf:
            raise UsageError(f"focal is {self.focal}; it must be positive and finite, or None")
        if unknown := sorted(self.sample_outputs - frozenset(SAMPLE_OUTPUTS)):
            raise UsageError(
                f"sample_outputs {unknown} are unknown; valid: {', '.join(SAMPLE_OUTPUTS)}"
            )

    @property
    def is_empty(self) -> bool:
        """Whether no output of any step is requested."""
        outputs = self.outputs
        return not any(outputs.values()) if isinstance(outputs, Mapping) else not outputs

    def last_step(self, steps: int) -> int:
        """The last predicted step, of so many, that something is requested of; 0 for none."""
        if not isinstance(self.outputs, Mapping):
            return steps if self.outputs else 0
        return max((k for k, names in self.outputs.items() if names and k <= steps), default=0)

    def of_step(self, step: int) -> frozenset[str]:
        """Names of the outputs of a step; step 0 has only what is requested of it by number."""
        if isinstance(self.outputs, Mapping):
            return frozenset(self.outputs.get(step, ()))
        return frozenset(self.outputs) if step else frozenset()

    def sized_for(self, image_size: tuple[int, int]) -> OutputRequest:
        """The same request of a frame whose image has this (height, width)."""
        return replace(self, size=image_size) if self.size == "input" else self

    def check(self, available: frozenset[str], of_step_0: frozenset[str], steps: int) -> None:
        """Check that all of it can be had.

        Args:
            available: outputs of predicted steps.
            of_step_0: outputs of the newest frame itself.
            steps: how many steps are predicted.

        Raises:
            UsageError: an unknown output, or a step that is not forecast.
        """
        by_step = self.outputs if isinstance(self.outputs, Mapping) else {1: self.outputs}
        unknown = sorted(frozenset().union(*by_step.values()) - available)
        if unknown:
            raise UsageError(f"unknown outputs {unknown}; this bundle gives {sorted(available)}")
        last = max((step for step, names in by_step.items() if names), default=0)
        if last > steps:
            raise UsageError(
                f"outputs are requested of step {last}; the engine forecasts {steps}: set its steps"
            )
        if missing := sorted(self.of_step(0) - of_step_0):
            raise UsageError(
                f"outputs {missing} are requested of step 0, but their head reads the "
                "forecaster's layers"
            )


def is_whole(value: object) -> bool:
    """Whether a value is a whole number by its type (NumPy's are)."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
