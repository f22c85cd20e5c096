"""Fits the linear and the MLP predictor on clips that are not scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dino_foresight_ros.training.evaluation.clips import Clip
from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.mlp import fit_mlp
from dino_foresight_ros.training.evaluation.predictors import (
    LINEAR,
    MLP,
    RidgeSums,
    TokenPredictor,
    changes_of,
    fit_ridge,
    to_rows,
)
from dino_foresight_ros.training.evaluation.stream import ClipBatch

VALIDATION_SHARE = 0.2
"""The last clips of a fit, on which the ridge penalty and the MLP's best state are chosen."""
_LEAST_CLIPS = 5
_MLP_BYTES = 1 << 30
"""Rows that all the MLPs of an evaluation keep in memory together."""


@dataclass(frozen=True)
class FitFacts:
    """How the fitted predictors of one series came about.

    Attributes:
        clips: fitted on, the validation clips among them.
        validation_clips: that the penalty and the best state were chosen on.
        alpha: the ridge penalty.
        mlp_rows: patches that the MLP drew from.
    """

    clips: int
    validation_clips: int
    alpha: float
    mlp_rows: int


@dataclass(frozen=True)
class Fitted:
    """Predictors of one series, and how they came about."""

    predictors: dict[str, TokenPredictor]
    facts: FitFacts


class SeriesFit:
    """Gathers the rows of one series."""

    def __init__(self, clips: Sequence[Clip], bytes_for_rows: int, seed: int) -> None:
        held_out = round(len(clips) * VALIDATION_SHARE) if len(clips) >= _LEAST_CLIPS else 0
        # The last ones in time order, so that neighbours do not fall on both sides.
        self._validation = set(list(clips)[len(clips) - held_out :])
        self._clips = len(clips)
        self._bytes = bytes_for_rows
        self._generator = torch.Generator().manual_seed(seed)
        self._sums = {True: RidgeSums(), False: RidgeSums()}
        self._rows: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}

    def add(self, batch: ClipBatch) -> None:
        """Take a batch of this series' clips."""
        for row, clip in enumerate(batch.clips):
            context, targets = batch.context[row : row + 1], batch.targets[row : row + 1]
            x, y = to_rows(context), changes_of(context, targets)
            held_out = clip in self._validation
            self._sums[held_out].add(x, y)
            most = self._bytes // (2 * (x.shape[1] + y.shape[1]) * self._clips)
            chosen = torch.randperm(len(x), generator=self._generator)[: max(1, most)]
            chosen = chosen.to(x.device)
            self._rows[held_out].append((x[chosen].half(), y[chosen].half()))

    def fit(self, config: EvaluationConfig, on_step: Callable[[], object]) -> Fitted | None:
        """Fit both predictors; None where no clip was readable."""
        if not self._rows[False]:
            return None
        validation = self._sums[True] if self._rows[True] else None
        linear, alpha = fit_ridge(self._sums[False], validation)
        x, y = _joined(self._rows[False])
        mlp = fit_mlp(
            x,
            y,
            _joined(self._rows[True]) if self._rows[True] else None,
            config.mlp_width,
            config.mlp_steps,
            config.mlp_batch,
            config.seed,
            on_step,
        )
        facts = FitFacts(
            sum(len(rows) for rows in self._rows.values()), len(self._rows[True]), alpha, len(x)
        )
        return Fitted({LINEAR: TokenPredictor(linear), MLP: TokenPredictor(mlp)}, facts)


def _joined(rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])


def start_fits(clips: Sequence[Clip], series: int, seed: int) -> dict[int, SeriesFit]:
    """One gatherer for every series that has clips; all share the memory for rows."""
    by_series: dict[int, list[Clip]] = {}
    for clip in clips:
        by_series.setdefault(clip.series, []).append(clip)
    return {
        number: SeriesFit(of_series, _MLP_BYTES // max(1, series), seed)
        for number, of_series in by_series.items()
    }
