"""The rate limit lets through what it promises, whatever the stream's jitter."""

from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.ros.rate_limit import RateLimit


def passed(limit: RateLimit, times: np.ndarray) -> np.ndarray:
    return np.array([t for t in times if limit.allows(float(t))])


@pytest.mark.parametrize(("rate_hz", "limit_hz"), [(30.0, 10.0), (30.0, 7.0), (60.0, 1.0)])
def test_mean_rate_is_the_limit_despite_jitter(rate_hz: float, limit_hz: float) -> None:
    rng = np.random.default_rng(3)
    times = (
        np.arange(0.0, 60.0, 1.0 / rate_hz) + rng.uniform(-0.2, 0.2, int(60 * rate_hz)) / rate_hz
    )
    kept = passed(RateLimit(limit_hz), np.sort(times))
    assert len(kept) / 60.0 == pytest.approx(limit_hz, rel=0.03)
    for start in range(50):
        window = kept[(kept >= start) & (kept < start + 10.0)]
        assert len(window) <= 10.0 * limit_hz + 1


def test_slower_stream_passes_whole() -> None:
    times = np.arange(0.0, 20.0, 0.25)
    assert len(passed(RateLimit(5.0), times)) == len(times)


def test_zero_sets_no_limit_and_limits_may_change() -> None:
    limit = RateLimit()
    assert all(limit.allows(0.001 * k) for k in range(100))
    limit.max_rate_hz = 0.1
    assert limit.allows(1.0)
    assert not limit.allows(2.0)
    limit.max_rate_hz = 10.0  # the due time of the lower limit does not hold any more
    assert limit.allows(2.1)
    assert not limit.allows(2.15)


def test_early_event_keeps_the_beat() -> None:
    limit = RateLimit(1.0)
    assert limit.allows(0.0)
    assert not limit.allows(0.4, early=0.5)
    assert limit.allows(0.6, early=0.5)  # instead of the one that is due at 1.0
    assert [limit.allows(t) for t in (1.0, 1.9, 2.0)] == [False, False, True]
    assert not limit.is_overdue(3.4)
    assert limit.is_overdue(3.6)


def test_pause_earns_no_burst_and_time_going_back_does_not_block() -> None:
    limit = RateLimit(1.0)
    assert limit.allows(0.0)
    assert [limit.allows(t) for t in (60.0, 60.1, 60.9, 61.0)] == [True, False, False, True]
    assert limit.allows(3.0)
