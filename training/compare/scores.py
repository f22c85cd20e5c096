"""What a variant is measured by: scores of each recording apart, so that variants can be paired."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.training.evaluation import EvaluationConfig, Report, evaluate
from dino_foresight_ros.training.evaluation.results import PCA_SPACE

RecordingScores: TypeAlias = dict[str, dict[str, float]]
"""Predictor -> name of a score (`score_name`) -> its value in one recording."""


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        name: in tables of values.
        title: for people, with the unit.
        sign: 1 where more is better, -1 where less is.
        head: whose labels it needs; None for features.
        field: of the head's scores.
        factor: from the field's unit to the title's.
    """

    name: str
    title: str
    sign: int
    head: str | None = None
    field: str = ""
    factor: float = 1.0


SKILL = Metric("skill", "MSE below copy-last, %", 1)
METRICS = (
    SKILL,
    Metric("miou", "mIoU, %", 1, SEGMENTATION, "miou", 100.0),
    Metric("moving_miou", "mIoU of what moves, %", 1, SEGMENTATION, "moving_miou", 100.0),
    Metric("delta1", "depth within 25 %, %", 1, DEPTH, "delta1", 100.0),
    Metric("abs_rel", "relative depth error, %", -1, DEPTH, "abs_rel", 100.0),
    Metric("normals_deg", "angle of normals, degrees", -1, NORMALS, "mean_deg"),
)


@dataclass(frozen=True)
class VariantFacts:
    """What a variant's model is.

    Attributes:
        forecaster_parameters: number of its weights.
        channels: of the PCA.
        variance_kept: by the PCA, 0 to 1; None where it was not fitted here.
    """

    forecaster_parameters: int
    channels: int
    variance_kept: float | None


def score_name(metric: Metric, step: int) -> str:
    """Such as "miou_3" for three steps ahead."""
    return f"{metric.name}_{step}"


def score_recordings(
    bundle: Bundle, recordings: Sequence[Recording], config: EvaluationConfig
) -> dict[str, RecordingScores]:
    """Measure a bundle on each recording apart.

    One that is too short for any clip is left out.

    Raises:
        InputError: none is left.
    """
    found: dict[str, RecordingScores] = {}
    refused = ""
    for recording in recordings:
        try:
            report = evaluate(bundle, [recording], replace(config, fitted=False))
        except InputError as error:
            refused = refused or str(error)
            continue
        scores = _scores(report)
        if scores:
            found[recording.name] = scores
    if not found:
        raise InputError(f"no recording can be scored: {refused}")
    return found


def _scores(report: Report) -> RecordingScores:
    scores: RecordingScores = {}
    for result in report.features:
        gain = result.rows[FORECAST].improvements["mse"]
        if result.space == PCA_SPACE and gain is not None:
            _put(scores, FORECAST, SKILL, result.lead.step, gain.percent)
    for labels in report.labels:
        if labels.lead is None:
            continue
        for metric in METRICS:
            for predictor in (FORECAST, COPY_LAST, ORACLE):
                row: Any = getattr(labels.rows[predictor], metric.head or "", None)
                value = getattr(row, metric.field, None) if metric.head else None
                if value is not None:
                    _put(scores, predictor, metric, labels.lead.step, metric.factor * value)
    return scores


def _put(scores: RecordingScores, predictor: str, metric: Metric, step: int, value: float) -> None:
    if math.isfinite(value):
        scores.setdefault(predictor, {})[score_name(metric, step)] = float(value)
