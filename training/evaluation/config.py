"""The settings of an evaluation, checked when they are built."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dino_foresight_ros.compare.bootstrap import Resampling
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import MAX_HORIZON_S, MAX_STEPS
from dino_foresight_ros.training.evaluation.contexts import Setting
from dino_foresight_ros.training.evaluation.series import Series

GAPS_S = (0.125, 0.25, 0.5, 1.0, 1.5)
HORIZONS = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class EvaluationConfig:
    """Choices of an evaluation.

    Attributes:
        horizons: steps at the bundle's frame interval, 1 to 16.
        gaps_s: time gaps in seconds; see `series` for what they mean.
        label_horizons: the horizons at which labels are scored (the paper: 1 and 3).
        instants_s: seconds ahead, for forecasters that take any instants.
        context: how the contexts lie from which these are asked; the bundle's number of frames,
            its interval apart, when None.
        motion: tell forecasters that take it how the vehicle truly moves until each target, as a
            planner may, where recordings know; they forecast without otherwise.
        max_clips: at most so many clips per series, spread evenly over all recordings; None: all.
        max_label_clips: the same, of the clips whose labels are scored.
        fitted: also fit and score a linear and an MLP predictor.
        fit_share: share of the data they are fitted on where none is given for it.
        mlp_steps, mlp_batch, mlp_width: budget and size of the MLP predictor.
        single_frame: fit both from the newest frame alone, too.
        series: what is forecast, as it is, instead of by horizons and gaps.
        only_labelled: score feature errors on those clips alone whose target has labels.
        half: keep features as float16 between encoding and scoring, as the feature store does.
        raw: score in the encoder's own feature space too.
        labels: score labels where there are any.
        seed: of the MLP, the choice of its tokens, and the bootstrap.
        resamples: of the bootstrap.
        confidence: of its intervals, 0 to 1.
        batch: clips in one pass.
    """

    horizons: tuple[int, ...] = HORIZONS
    gaps_s: tuple[float, ...] = GAPS_S
    label_horizons: tuple[int, ...] = (1, 3)
    instants_s: tuple[float, ...] = ()
    context: Setting | None = None
    motion: bool = True
    max_clips: int | None = 200
    max_label_clips: int | None = 100
    fitted: bool = True
    fit_share: float = 0.3
    mlp_steps: int = 400
    mlp_batch: int = 512
    mlp_width: int = 512
    single_frame: bool = False
    series: tuple[Series, ...] = ()
    only_labelled: bool = False
    half: bool = True
    raw: bool = False
    labels: bool = True
    seed: int = 0
    resamples: int = 2000
    confidence: float = 0.95
    batch: int = 8

    @property
    def resampling(self) -> Resampling:
        """Of the confidence intervals."""
        return Resampling(self.seed, self.resamples, self.confidence)

    def __post_init__(self) -> None:
        for name in ("horizons", "gaps_s", "label_horizons", "instants_s"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not (self.horizons or self.gaps_s or self.instants_s or self.series):
            raise UsageError("no horizons, gaps or instants are given; there is nothing to score")
        for step in (*self.horizons, *self.label_horizons):
            if not 1 <= step <= MAX_STEPS:
                raise UsageError(f"horizon {step} is not in 1 to {MAX_STEPS} steps")
        for gap in self.gaps_s:
            if not (math.isfinite(gap) and 0 < gap <= 60):
                raise UsageError(f"gap {gap} is not above 0 and up to 60 seconds")
        instants = self.instants_s
        if len(set(instants)) > MAX_STEPS or len(set(instants)) < len(instants):
            raise UsageError(f"instants are 1 to {MAX_STEPS} different numbers of seconds")
        for instant in instants:
            if not 0 < instant <= MAX_HORIZON_S:
                raise UsageError(f"instant {instant} is not above 0 and up to {MAX_HORIZON_S:g} s")
        for name in ("max_clips", "max_label_clips"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1")
        for name in ("mlp_steps", "mlp_batch", "mlp_width", "resamples", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("fit_share", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
