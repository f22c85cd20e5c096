"""Sets the variants of a comparison apart from its baseline, recording by recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.compare.bootstrap import Clips, paired_difference
from dino_foresight_ros.training.compare.comparison import Comparison, Variant
from dino_foresight_ros.training.compare.runs import RunScores
from dino_foresight_ros.training.compare.scores import METRICS, Metric, VariantFacts, score_name


@dataclass(frozen=True)
class Difference:
    """A variant's score less the baseline's.

    Attributes:
        mean: over the recordings that both were scored on, each the mean over seeds.
        low, high: ends of the confidence interval over scenes; None with too few of them.
        scenes: how many independent ones there are (`bootstrap.Estimate.blocks`).
        by_seed: the same difference with each seed alone, in the order of the comparison's seeds.
    """

    mean: float
    low: float | None
    high: float | None
    scenes: int
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One score of one variant.

    Attributes:
        variant: whose.
        facts: of its model, with the first seed.
        metric, step: which score, so many steps ahead.
        value: mean over recordings and seeds.
        copy_last, oracle: the same of these two; None for scores that have none.
        difference: from the baseline; None for the baseline itself, and without a common recording.
    """

    variant: Variant
    facts: VariantFacts
    metric: Metric
    step: int
    value: float
    copy_last: float | None
    oracle: float | None
    difference: Difference | None


def compare(comparison: Comparison, runs: Sequence[RunScores]) -> list[Row]:
    """Every score of every variant, variant by variant; the baseline first.

    Args:
        comparison: whose runs they are.
        runs: as `run_comparison` gives them.
    """
    rows = []
    for variant in comparison.variants:
        own = [run for run in runs if run.variant is variant]
        base = [run for run in runs if run.variant is comparison.baseline]
        for step in sorted(set(comparison.evaluation.horizons)):
            for metric in METRICS:
                row = _row(comparison, variant, own, base, metric, step)
                if row is not None:
                    rows.append(row)
    return rows


def _row(
    comparison: Comparison,
    variant: Variant,
    own: Sequence[RunScores],
    base: Sequence[RunScores],
    metric: Metric,
    step: int,
) -> Row | None:
    names = _recordings(own, metric, step)
    if not names:
        return None
    value, copy_last, oracle = (
        _mean(own, names, predictor, metric, step) for predictor in (FORECAST, COPY_LAST, ORACLE)
    )
    assert value is not None
    difference = None
    if variant is not comparison.baseline:
        both = [name for name in names if name in set(_recordings(base, metric, step))]
        if both:
            difference = _difference(comparison, own, base, both, metric, step)
    return Row(variant, own[0].facts, metric, step, value, copy_last, oracle, difference)


def _recordings(runs: Sequence[RunScores], metric: Metric, step: int) -> list[str]:
    """Names of those that have a score with every seed."""
    score = score_name(metric, step)
    return [
        name
        for name in runs[0].scores
        if all(score in run.scores.get(name, {}).get(FORECAST, {}) for run in runs)
    ]


def _values(
    runs: Sequence[RunScores], names: Sequence[str], predictor: str, metric: Metric, step: int
) -> NDArray[np.float64] | None:
    """(seeds, recordings); None where a value is missing."""
    score = score_name(metric, step)
    try:
        return np.array([[run.scores[name][predictor][score] for name in names] for run in runs])
    except KeyError:
        return None


def _mean(
    runs: Sequence[RunScores], names: Sequence[str], predictor: str, metric: Metric, step: int
) -> float | None:
    values = _values(runs, names, predictor, metric, step)
    return None if values is None else float(values.mean())


def _difference(
    comparison: Comparison,
    own: Sequence[RunScores],
    base: Sequence[RunScores],
    names: Sequence[str],
    metric: Metric,
    step: int,
) -> Difference:
    ours, theirs = (_values(runs, names, FORECAST, metric, step) for runs in (own, base))
    assert ours is not None
    assert theirs is not None
    apart = ours - theirs
    scenes = own[0].scenes
    # Neighbours of a scene's clips are in one recording's score already: no times.
    numbers = np.array([scenes.get(name, -1 - place) for place, name in enumerate(names)])
    clips = Clips(np.unique(numbers, return_inverse=True)[1].reshape(-1), np.zeros(len(names)))
    found = paired_difference(apart.mean(axis=0), clips, comparison.evaluation.resampling)
    by_seed = tuple(float(value) for value in apart.mean(axis=1))
    return Difference(found.value, found.low, found.high, found.blocks, by_seed)
