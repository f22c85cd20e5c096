from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dino_foresight_ros.training.evaluation.bootstrap import blocks_of, improvement


def test_interval_is_that_of_scipy_for_separate_clips() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.uniform(1, 3, 60)
    errors = baseline * rng.uniform(0.5, 1.0, 60)

    gain = improvement(errors, baseline, np.arange(60), 0, 20_000, 0.9)

    reference = stats.bootstrap(
        (errors, baseline),
        lambda e, b, axis: 100 * (1 - e.sum(axis) / b.sum(axis)),
        paired=True, vectorized=True, confidence_level=0.9, n_resamples=20_000,
        method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert gain is not None
    assert gain.percent == pytest.approx(100 * (1 - errors.mean() / baseline.mean()))
    assert (gain.low, gain.high) == pytest.approx((reference.low, reference.high), abs=0.15)


def test_overlapping_clips_promise_no_more_than_one_of_them() -> None:
    rng = np.random.default_rng(0)
    baseline, errors = np.ones(30), rng.uniform(0.2, 1.0, 30)
    once = improvement(errors, baseline, np.arange(30), 0, 4000, 0.95)
    tenfold = improvement(
        np.repeat(errors, 10), np.ones(300), np.repeat(np.arange(30), 10), 0, 4000, 0.95
    )
    assert once is not None
    assert once == pytest.approx(tenfold)


def test_one_block_has_no_interval() -> None:
    gain = improvement(np.array([1.0, 2.0]), np.array([4.0, 2.0]), np.zeros(2, int), 0, 100, 0.95)
    assert gain == (pytest.approx(50.0), None, None)


def test_baseline_without_error_has_no_improvement() -> None:
    assert improvement(np.ones(3), np.zeros(3), np.arange(3), 0, 100, 0.95) is None


def test_clips_in_different_blocks_of_a_recording_rarely_overlap() -> None:
    rng = np.random.default_rng(0)
    anchors = np.sort(rng.uniform(0, 30, 200))
    recordings = rng.integers(0, 3, 200)
    blocks = blocks_of(recordings, anchors, 2.0)
    for i in range(200):
        for j in range(200):
            if blocks[i] == blocks[j]:
                assert recordings[i] == recordings[j]
                assert abs(anchors[i] - anchors[j]) < 2.0
    # A block is a clip's length, so clips two blocks apart share nothing.
    assert sorted(set(blocks.tolist())) == list(range(blocks.max() + 1))
