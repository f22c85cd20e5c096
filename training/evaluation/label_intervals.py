"""Confidence intervals of the scores against labels, and of the share of the gap closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from dino_foresight_ros.compare.bootstrap import (
    Clips,
    Estimate,
    Resampling,
    Statistic,
    Values,
    estimate,
)
from dino_foresight_ros.compare.instance_metrics import SCORE_BINS, ap50_of_counts
from dino_foresight_ros.compare.label_metrics import intersection_over_union
from dino_foresight_ros.outputs import INSTANCES, SEGMENTATION
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace
from dino_foresight_ros.training.evaluation.label_scores import (
    CLOSED_METRICS,
    ClosedFraction,
    ClosedMetric,
    LabelRow,
    LabelScorer,
)

Places = Callable[[list[int]], Clips]
"""Numbers of clips -> where they are from."""


def row_with_intervals(
    row: LabelRow,
    scorer: LabelScorer,
    classes: ClassSpace | None,
    places: Places,
    resampling: Resampling,
) -> LabelRow:
    """The row, with the intervals of those of its scores that have one."""
    found: dict[str, Estimate] = {}
    for metric in CLOSED_METRICS:
        if getattr(getattr(row, metric.head), metric.score, None) is not None:
            clips = places(scorer.clips(metric.head))
            found[metric.score] = estimate(
                score_of(metric, classes), scorer.sums(metric.head), clips, resampling
            )
    return replace(row, intervals=found)


def closed_with_interval(
    closed: ClosedFraction,
    scorers: Mapping[str, LabelScorer],
    ends: tuple[str, str],
    classes: ClassSpace | None,
    places: Places,
    resampling: Resampling,
) -> ClosedFraction:
    """The fraction with its interval, of the predictor between the two `ends`.

    Without one where it is undefined, or its heads were scored on different clips.
    """
    three = [scorers[name] for name in (closed.predictor, *ends)]
    clips = three[0].clips(closed.head)
    if closed.share is None or any(one.clips(closed.head) != clips for one in three):
        return closed
    metric = next(
        one for one in CLOSED_METRICS if (one.head, one.score) == (closed.head, closed.score)
    )
    sums = [one.sums(closed.head) for one in three]
    score, width = score_of(metric, classes), sums[0].shape[1]

    def share(joined: Values) -> Values:
        value, low, high = (score(joined[..., k * width : (k + 1) * width]) for k in range(3))
        gap = metric.sign * (high - low)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(gap > 0, metric.sign * (value - low) / gap, np.nan)

    found = estimate(share, np.concatenate(sums, axis=1), places(clips), resampling)
    return replace(closed, interval=found)


def score_of(metric: ClosedMetric, classes: ClassSpace | None) -> Statistic:
    """A score as a function of what `LabelScorer.sums` adds up to."""
    if metric.head == SEGMENTATION:
        assert classes is not None
        scored = range(len(classes.names)) if metric.score == "miou" else classes.moving
        return lambda sums: _miou(sums, list(scored), len(classes.names) + 1)
    if metric.head == INSTANCES:
        return _ap50
    column = 1 if metric.score == "abs_rel" else 0

    def mean(sums: Values) -> Values:
        with np.errstate(divide="ignore", invalid="ignore"):
            value: Values = sums[..., column] / sums[..., -1]
        return value

    return mean


def _ap50(sums: Values) -> Values:
    return ap50_of_counts(sums[..., :-1].reshape(*sums.shape[:-1], -1, 2 * SCORE_BINS + 1))


def _miou(sums: Values, scored: list[int], classes: int) -> Values:
    counts = sums[..., :-1].reshape(*sums.shape[:-1], 3, classes)
    shares = intersection_over_union(counts)[..., scored]
    known = np.isfinite(shares)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Values = np.where(known, shares, 0.0).sum(-1) / known.sum(-1)
    return mean
