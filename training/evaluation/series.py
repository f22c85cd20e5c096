"""What is forecast, and how far ahead: the definitions every table of the report rests on.

A *series* is one way of forecasting: context frames `spacing_s` apart, the newest of them at t, and
the model fed its own predictions `step` times, so that its target lies at t + step * spacing_s.

By horizon: the spacing is the bundle's own frame interval, the step 1 to 8 (the paper's short and
mid term are steps 1 and 3, sec. 4.1).

By time gap g, two ways to the same target at t + g, told apart in the report:
  "one step": context frames g apart, one step (how DINO-world varies its time stamps, and what
  training with random strides prepares a forecaster for);
  "rollout": n steps of g / n, where n is the number of steps whose length lies nearest to the
  bundle's interval. Left out where n is 1: it is the same as one step.

By instants, for forecasters that take any: seconds ahead, asked for directly, from a context that
lies as a `Setting` says, with jitter and missing frames too. The frames that are nearest stand in,
and the forecaster is told their true stamps.

Frames lie at the recording's own instants. Of the other series a clip is taken where every frame is
the one nearest to its nominal instant, and lies within 30 % of the spacing of it; how far ahead the
targets lay on average is measured and stands in every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.runtime.context_rules import EvenContext
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.training.evaluation.contexts import Setting

TOLERANCE = 0.3
"""Of the spacing. The live node puts up with 0.45, but then a gap of 1.5 s may really be 2 s."""
_NEAREST = 0.6
"""Of the time between frames; above a half, for cameras whose frames jitter."""
HORIZONS = "horizons"
ONE_STEP = "one step"
ROLLOUT = "rollout"
INSTANTS = "instants"


@dataclass(frozen=True)
class Series:
    """One way of forecasting.

    Attributes:
        kind: HORIZONS, ONE_STEP, ROLLOUT or INSTANTS.
        spacing_s: seconds between context frames, and from step to step.
        steps: the steps that are scored, rising, counted from 1.
        label_steps: those of them whose labels are scored too.
        gap_s: the time gap of a ONE_STEP or ROLLOUT series.
        ahead_s: of INSTANTS, seconds to the target of each step.
        context: of INSTANTS, how its context lies.
    """

    kind: str
    spacing_s: float
    steps: tuple[int, ...]
    label_steps: tuple[int, ...] = ()
    gap_s: float | None = None
    ahead_s: tuple[float, ...] = ()
    context: Setting | None = None

    @property
    def name(self) -> str:
        """For people."""
        if self.context is not None:
            return f"{self.ahead_s[0]:g} to {self.ahead_s[-1]:g} s from {self.context.name}"
        if self.gap_s is None and len(self.steps) == 1:
            return f"step {self.steps[0]} of {self.spacing_s:g} s"
        if self.gap_s is None:
            return f"{self.steps[0]} to {self.steps[-1]} steps of {self.spacing_s:g} s"
        return f"gap {self.gap_s:g} s, {self.kind}"

    def context_frames(self, usual: int) -> int:
        """How many frames a context has; `usual` where the series does not say."""
        return usual if self.context is None else self.context.frames

    def context_offsets_s(self, frames: int) -> tuple[float, ...]:
        """Seconds from the newest context frame to each, oldest first."""
        return tuple(-k * self.spacing_s for k in reversed(range(frames)))

    def target_offsets_s(self) -> tuple[float, ...]:
        """Seconds from the newest context frame to the target of each step."""
        return self.ahead_s or tuple(k * self.spacing_s for k in self.steps)

    def first(self, count: int) -> Series:
        """The series with so many of its steps."""
        steps = self.steps[:count]
        labelled = tuple(step for step in self.label_steps if step in steps)
        return replace(self, steps=steps, label_steps=labelled, ahead_s=self.ahead_s[:count])

    def span_s(self, frames: int, step: int = -1) -> float:
        """Seconds that a clip with a context of so many frames takes up to a step's target."""
        return self.spacing_s * (frames - 1) + self.target_offsets_s()[step]

    def tolerance_s(self, frames: int, stamps_ns: NDArray[np.int64]) -> float:
        """How far a frame may lie from its nominal instant.

        30 % of the spacing, but little more than half the time between the recording's frames:
        further off lies only what stands in for a frame before its start or after its end.
        """
        rule = EvenContext.for_interval(frames, self.spacing_s, TOLERANCE)
        if len(stamps_ns) < 2:
            return rule.tolerance_ns / NS_PER_S
        return min(rule.tolerance_ns, _NEAREST * float(np.median(np.diff(stamps_ns)))) / NS_PER_S


def steps_for_gap(gap_s: float, interval_s: float) -> int:
    """The number of equal steps to `gap_s` whose length lies nearest to `interval_s`."""
    return min(range(1, MAX_STEPS + 1), key=lambda count: (abs(gap_s / count - interval_s), count))


def make_series(
    interval_s: float,
    horizons: Sequence[int],
    gaps_s: Sequence[float],
    label_horizons: Sequence[int] = (),
    instants_s: Sequence[float] = (),
    context: Setting | None = None,
) -> list[Series]:
    """Every series of an evaluation.

    Labels are scored at `label_horizons`, at every gap by whichever way keeps nearest to the
    bundle's interval, and at all of `instants_s`, which are asked from a `context`.
    """
    series = []
    if horizons:
        steps = tuple(sorted(set(horizons)))
        labelled = tuple(k for k in steps if k in label_horizons)
        series.append(Series(HORIZONS, interval_s, steps, labelled))
    for gap in sorted(set(gaps_s)):
        count = steps_for_gap(gap, interval_s)
        series.append(Series(ONE_STEP, gap, (1,), (1,) if count == 1 else (), gap))
        if count > 1:
            series.append(Series(ROLLOUT, gap / count, (count,), (count,), gap))
    if instants_s and context is not None:
        steps = tuple(range(1, len(instants_s) + 1))
        ahead_s = tuple(sorted(instants_s))
        series.append(Series(INSTANTS, context.gap_s, steps, steps, None, ahead_s, context))
    return series
