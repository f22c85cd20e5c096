"""Confidence intervals of scores over clips that depend on each other.

Clips of one scene err alike: they share frames, a place, and, of a camera rig, the moment. So
whole scenes are resampled, all their cameras together (cluster bootstrap). Where there is one
scene alone, it is cut into pieces of time at least as long as its errors are correlated, and these
are resampled (block bootstrap, Kuensch 1989): the interval speaks of that scene. Below
`LEAST_BLOCKS` blocks there is no interval: their number is all that can be said. So two to four
scenes have none, however long: how much scenes differ cannot be told from so few.

Percentiles of few blocks are too narrow, by the missing degrees of freedom of their spread. They
are widened as Hesterberg (2015, "What teachers should know about the bootstrap", sec. 5) does: to
where Student's t says that a normal mean of so many blocks would be covered.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import UsageError

LEAST_BLOCKS = 5
_CORRELATION_TIMES = 4.0
"""Length of a block in integrated correlation times: what neighbours share is then small."""
_LEAST_RESAMPLES = 0.95
"""Share of the resamples in which a score has to be defined."""

Values = NDArray[np.float64]
Ids = NDArray[np.int64]
Statistic = Callable[[Values], Values]
"""Sums over clips (..., K) -> a score (...), NaN where it is undefined."""


class Estimate(NamedTuple):
    """A score, and how well it is known.

    Attributes:
        value: over all clips.
        low, high: ends of the confidence interval; None with fewer than `LEAST_BLOCKS` blocks, or
            where the score is undefined in many resamples.
        blocks: how many independent blocks the clips make; scenes, or pieces of them.
    """

    value: float
    low: float | None
    high: float | None
    blocks: int


class Clips(NamedTuple):
    """Where n clips are from, and how they are resampled.

    Attributes:
        scenes: (n,) number of the scene; cameras of one rig have the same.
        times_s: (n,) seconds of the clip's newest context frame, in the scene's own time.
        span_s: seconds from a clip's first frame to its last; a block is at least twice as long.
    """

    scenes: Ids
    times_s: Values
    span_s: float = 0.0


class Resampling(NamedTuple):
    """How often, from which seed, and for which confidence (0 to 1)."""

    seed: int = 0
    resamples: int = 2000
    confidence: float = 0.95


class Improvement(NamedTuple):
    """How much lower an error is than copy-last's, in percent (negative: higher).

    Attributes:
        percent: 100 * (1 - mean error / mean error of copy-last).
        low, high, blocks: as in `Estimate`.
    """

    percent: float
    low: float | None
    high: float | None
    blocks: int


def improvement(
    errors: Values, baseline: Values, clips: Clips, resampling: Resampling | None = None
) -> Improvement | None:
    """Compare mean errors over the same clips.

    Args:
        errors, baseline: (n,) error per clip, at least 0.
        clips: where they are from.
        resampling: the defaults when None.

    Returns:
        None where the baseline has no error at all: nothing can be improved on.
    """
    if not baseline.sum() > 0:
        return None
    sums = np.stack([errors, baseline], axis=1)
    return Improvement(*estimate(_percent_lower, sums, clips, resampling))


def _percent_lower(sums: Values) -> Values:
    """(..., 2) summed error and summed error of copy-last -> percent."""
    return 100.0 * (1.0 - mean_of_sums(sums))


def paired_difference(
    differences: Values, clips: Clips, resampling: Resampling | None = None
) -> Estimate:
    """Mean of differences between two models over the same clips.

    Args:
        differences: (n,) score of one model minus that of the other, clip by clip.
        clips: where they are from.
        resampling: the defaults when None.

    Raises:
        UsageError: no clips, or arrays of different lengths.
    """
    sums = np.stack([differences, np.ones(len(differences))], axis=1)
    return estimate(mean_of_sums, sums, clips, resampling)


def mean_of_sums(sums: Values) -> Values:
    """(..., 2) sum of values and their number -> mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Values = sums[..., 0] / sums[..., 1]
    return mean


def estimate(
    statistic: Statistic, sums: Values, clips: Clips, resampling: Resampling | None = None
) -> Estimate:
    """Score all clips, with its interval.

    Args:
        statistic: of sums over clips.
        sums: (n, K) what each clip adds to the sums.
        clips: where the clips are from.
        resampling: the defaults when None.

    Raises:
        UsageError: no clips, or arrays of different lengths.
    """
    chosen = resampling or Resampling()
    if not len(sums) or not len(sums) == len(clips.scenes) == len(clips.times_s):
        raise UsageError(
            f"{len(sums)} values, {len(clips.scenes)} scenes and {len(clips.times_s)} times: give "
            "one of each per clip, and at least one clip"
        )
    total = sums.sum(axis=0)
    value = float(statistic(total))
    # How much each clip moves the score: what its errors are correlated in.
    influence = value - statistic(total - sums)
    blocks = blocks_of(clips, influence)
    count = independent(blocks)
    if count < LEAST_BLOCKS:
        return Estimate(value, None, None, count)
    return Estimate(value, *_interval(statistic, _sum_by(blocks, sums), count, chosen), count)


def independent(blocks: Ids) -> int:
    """How many blocks of equal size would say as much as these (Kish's effective number)."""
    sizes = np.bincount(blocks).astype(np.float64)
    return int(np.round(sizes.sum() ** 2 / (sizes**2).sum()))


def blocks_of(clips: Clips, influence: Values) -> Ids:
    """Number clips so that those which depend on each other share a number.

    Args:
        clips: where they are from.
        influence: (n,) how much each moves the score; NaN where that is undefined.

    Returns:
        (n,) block numbers, 0 to blocks - 1.
    """
    scenes = _numbered(clips.scenes)
    if scenes.max() > 0:
        return scenes
    since_s = clips.times_s - clips.times_s.min()
    correlated_s = correlation_time_s(clips.times_s, influence)
    length_s = max(2.0 * clips.span_s, _CORRELATION_TIMES * correlated_s, 1e-9)
    pieces = max(int(since_s.max() // length_s), 1)
    place = (since_s / max(float(since_s.max()), 1e-9) * pieces).astype(np.int64)
    return _numbered(np.minimum(place, pieces - 1))


def correlation_time_s(times_s: Values, influence: Values) -> float:
    """Integrated autocorrelation time of the influences of a scene's clips, in seconds.

    Influences are summed in even cells of time, cameras together; products of cells at each lag
    give the autocovariance. Its sum stops at the first window of five correlation times (Sokal
    1997, sec. 3).

    Args:
        times_s: (n,) in any order.
        influence: (n,) as `blocks_of` takes it.

    Returns:
        0 where nothing is correlated.
    """
    gaps = np.diff(np.unique(times_s))
    if not gaps.size:
        return 0.0
    cell_s = float(np.median(gaps))
    known = np.where(np.isfinite(influence), influence, 0.0)
    cells = np.floor((times_s - times_s.min()) / cell_s + 1e-6).astype(np.int64)
    values = np.bincount(cells, known - known.mean())
    covariance = np.correlate(values, values, "full")[len(values) - 1 :]
    if not covariance[0] > 0:
        return 0.0
    times = 1.0 + 2.0 * np.cumsum(covariance[1:] / covariance[0])
    window = np.arange(1, len(times) + 1)
    enough = np.flatnonzero(window >= 5.0 * np.maximum(times, 1.0))
    cells_long = float(times[enough[0]] if enough.size else times.max(initial=1.0))
    return cells_long * cell_s if cells_long > 1.0 else 0.0


def _interval(
    statistic: Statistic, sums: Values, count: int, chosen: Resampling
) -> tuple[float | None, float | None]:
    """Widened percentiles of the statistic over resampled blocks (blocks, K)."""
    blocks = len(sums)
    rng = np.random.default_rng(chosen.seed)
    drawn = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), chosen.resamples)
    values = statistic(drawn.astype(np.float64) @ sums)
    values = values[np.isfinite(values)]
    if len(values) < _LEAST_RESAMPLES * chosen.resamples:
        return None, None
    tail = 0.5 * (1.0 - chosen.confidence)
    wider = math.sqrt(count / (count - 1)) * student_t(tail, count - 1)
    percent = 100.0 * NormalDist().cdf(wider)
    low, high = np.percentile(values, (percent, 100.0 - percent))
    return float(low), float(high)


def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t with `freedom` degrees, 4 or more (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def _sum_by(blocks: Ids, sums: Values) -> Values:
    found = np.zeros((int(blocks.max()) + 1, sums.shape[1]))
    np.add.at(found, blocks, sums)
    return found


def _numbered(ids: Ids) -> Ids:
    return np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int64)
