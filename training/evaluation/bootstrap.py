"""Bootstrap intervals of an improvement; clips that overlap are drawn together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import skill_of


class Improvement(NamedTuple):
    """How much lower an error is than copy-last's, in percent (negative: higher).

    Attributes:
        percent: 100 * (1 - mean error / mean error of copy-last).
        low, high: ends of the confidence interval; None with fewer than two blocks of clips.
    """

    percent: float
    low: float | None
    high: float | None


def blocks_of(
    recordings: NDArray[np.int64], anchors_s: NDArray[np.float64], span_s: float
) -> NDArray[np.int64]:
    """Number clips so that those which may share frames share a number.

    Neighbouring clips of a recording overlap and err alike: resampled one by one they would
    promise more certainty than there is. So a recording is cut into pieces of a clip's length,
    and pieces are resampled (block bootstrap).

    Args:
        recordings: (n,) which recording each clip is from.
        anchors_s: (n,) seconds of its newest context frame.
        span_s: seconds from a clip's first frame to its last.

    Returns:
        (n,) block numbers, 0 to blocks - 1.
    """
    pieces = np.floor(anchors_s / max(span_s, 1e-9)).astype(np.int64)
    keys = np.stack([recordings, pieces], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def improvement(
    errors: NDArray[np.float64],
    baseline: NDArray[np.float64],
    blocks: NDArray[np.int64],
    seed: int,
    resamples: int,
    confidence: float,
) -> Improvement | None:
    """Compare mean errors over the same clips.

    Args:
        errors, baseline: (n,) error per clip, at least 0.
        blocks: (n,) as `blocks_of` gives.
        seed: of the resampling.
        resamples: how often.
        confidence: such as 0.95.

    Returns:
        None where the baseline has no error at all: nothing can be improved on.
    """
    if not baseline.sum() > 0:
        return None
    percent = 100.0 * skill_of(float(errors.sum()), float(baseline.sum()))
    count = int(blocks.max()) + 1
    if count < 2:
        return Improvement(percent, None, None)
    error_sums = np.bincount(blocks, errors, count)
    base_sums = np.bincount(blocks, baseline, count)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, (resamples, count))
    base = base_sums[drawn].sum(axis=1)
    # A resample of still scenes alone says nothing.
    kept = base > 0
    percents = 100.0 * (1.0 - error_sums[drawn].sum(axis=1)[kept] / base[kept])
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(percents, (tail, 100.0 - tail))
    return Improvement(percent, float(low), float(high))
