"""Intervals cover what they say they cover, and are not given where that cannot be said."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dino_foresight_ros.compare.bootstrap import (
    LEAST_BLOCKS,
    Clips,
    Resampling,
    blocks_of,
    correlation_time_s,
    estimate,
    improvement,
    mean_of_sums,
    paired_difference,
    student_t,
)
from dino_foresight_ros.errors import UsageError

Case = tuple[np.ndarray, np.ndarray, Clips]
TRUE_PERCENT = 30.0


def separate(count: int) -> Clips:
    return Clips(np.arange(count), np.zeros(count))


def correlated(rng: np.random.Generator, count: int, by: float) -> np.ndarray:
    """An autoregressive series of variance 1."""
    series = np.empty(count)
    series[0] = rng.normal()
    for i in range(1, count):
        series[i] = by * series[i - 1] + np.sqrt(1 - by * by) * rng.normal()
    return series


def drawn(seed: int, scenes: int, cameras: int, per_scene: int, skewed: bool = False) -> Case:
    """Errors of a predictor that is 30 % better than copy-last: better or worse by scene, and
    correlated from clip to clip within each camera.
    """
    rng = np.random.default_rng([seed, 11])
    errors, baseline = [], []
    for _ in range(scenes):
        level = np.exp(0.6 * rng.normal()) if skewed else rng.uniform(1, 3)
        of_scene = 0.1 * rng.normal()
        for _ in range(cameras):
            base = level * np.exp(0.3 * correlated(rng, per_scene, 0.8))
            gain = 0.7 + of_scene + 0.1 * correlated(rng, per_scene, 0.8)
            baseline.append(base)
            errors.append(base * gain)
    numbers = np.repeat(np.arange(scenes), cameras * per_scene)
    times_s = np.tile(np.arange(per_scene) * 0.5, scenes * cameras)
    return np.concatenate(errors), np.concatenate(baseline), Clips(numbers, times_s, 1.0)


def coverage(make: Callable[[int], Case], runs: int) -> float:
    """Share of the runs whose interval holds the truth, in percent."""
    hits = 0
    for seed in range(runs):
        gain = improvement(*make(seed), Resampling(seed, 400))
        assert gain is not None
        assert gain.low is not None
        assert gain.high is not None
        hits += gain.low <= TRUE_PERCENT <= gain.high
    return 100 * hits / runs


SHAPES = {
    "8 recordings": (8, 1, 20, False),
    "8 rigs of 6 cameras": (8, 6, 10, False),
    "8 skewed": (8, 1, 20, True),
    "20 skewed": (20, 1, 20, True),
    "50 recordings": (50, 1, 10, False),
}


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_coverage_of_independent_scenes(shape: tuple[int, int, int, bool]) -> None:
    assert 92 <= coverage(lambda seed: drawn(seed, *shape), 1000) <= 98


def test_coverage_of_eight_scenes_in_short() -> None:
    """200 runs: three standard deviations about 95 % are 4.6 %."""
    assert 90 <= coverage(lambda seed: drawn(seed, 8, 2, 8), 200) <= 99


def test_interval_is_that_of_students_t_for_a_mean_of_normal_values() -> None:
    from scipy import stats  # takes a second, in each worker that collects this file

    rng = np.random.default_rng(3)
    for count in (5, 8, 30):
        values = rng.normal(2.0, 1.0, count)
        found = paired_difference(values, separate(count), Resampling(0, 40_000))
        exact = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert found.low is not None
        assert found.high is not None
        assert found.value == pytest.approx(values.mean())
        assert found.high - found.low == pytest.approx(exact.high - exact.low, rel=0.15)


def test_quantiles_of_student_are_scipys() -> None:
    from scipy import stats

    for probability in (0.005, 0.025, 0.05, 0.9):
        for freedom in (4, 7, 20, 100):
            exact = stats.t.ppf(probability, freedom)
            assert student_t(probability, freedom) == pytest.approx(exact, rel=0.01)


def test_copies_of_a_scene_promise_nothing() -> None:
    """Six cameras that err alike: the interval of one of them."""
    errors, baseline, clips = drawn(0, 8, 1, 20)
    once = improvement(errors, baseline, clips)
    six = Clips(np.tile(clips.scenes, 6), np.tile(clips.times_s, 6), 1.0)
    assert improvement(np.tile(errors, 6), np.tile(baseline, 6), six) == pytest.approx(once)


@pytest.mark.parametrize("scenes", [2, 3, 4])
def test_few_scenes_have_no_interval_but_their_number(scenes: int) -> None:
    errors, baseline, clips = drawn(0, scenes, 1, 200)
    gain = improvement(errors, baseline, clips)
    assert gain is not None
    assert gain[1:] == (None, None, scenes)


def test_a_scene_that_outweighs_the_others_counts_as_few() -> None:
    clips = Clips(np.concatenate([np.zeros(500, int), np.arange(1, 8)]), np.arange(507.0))
    found = paired_difference(np.ones(507), clips)
    assert found == (1.0, None, None, 1)


def test_one_recording_is_cut_where_its_errors_forget() -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(400) * 0.5
    # (1 + 0.8) / (1 - 0.8) clips; of white noise none.
    times = [correlation_time_s(times_s, correlated(rng, 400, 0.8)) for _ in range(40)]
    assert np.median(times) == pytest.approx(9 * 0.5, rel=0.25)
    clips = Clips(np.zeros(400, int), times_s, span_s=2.0)
    blocks = blocks_of(clips, correlated(rng, 400, 0.8))
    lengths_s = np.bincount(blocks) * 0.5
    assert lengths_s.min() >= 4.0
    assert LEAST_BLOCKS <= len(lengths_s) <= 25
    assert len(np.bincount(blocks_of(clips, rng.normal(size=400)))) >= 30


def test_a_short_recording_has_no_interval() -> None:
    """2.6 s of clips that take 1 s each."""
    times_s = np.arange(40) * 0.04
    found = paired_difference(np.sin(times_s), Clips(np.zeros(40, int), times_s, 1.0))
    assert (found.low, found.high) == (None, None)
    assert found.blocks < LEAST_BLOCKS


def test_clips_that_share_frames_are_drawn_together() -> None:
    """As densely as frames come: only at the ends of blocks may two share some."""
    times_s = np.arange(600) * 0.1
    blocks = blocks_of(
        Clips(np.zeros(600, int), times_s, 1.0), np.random.default_rng(0).normal(size=600)
    )
    sharing = [(a, b) for a in range(600) for b in range(a + 1, min(a + 11, 600))]
    apart = sum(blocks[a] != blocks[b] for a, b in sharing)
    assert apart / len(sharing) < 0.3


def test_scores_undefined_in_many_resamples_have_no_interval() -> None:
    sums = np.array([[1.0, 1.0]] + [[0.0, 0.0]] * 9)
    found = estimate(mean_of_sums, sums, separate(10))
    assert found == (1.0, None, None, 10)


def test_baseline_without_error_has_no_improvement() -> None:
    assert improvement(np.ones(3), np.zeros(3), separate(3)) is None


def test_values_without_clips_are_refused() -> None:
    with pytest.raises(UsageError, match="3 values, 2 scenes"):
        paired_difference(np.ones(3), separate(2))
    with pytest.raises(UsageError, match="at least one clip"):
        paired_difference(np.ones(0), separate(0))
