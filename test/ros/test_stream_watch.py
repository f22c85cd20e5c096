"""When a stream counts as stopped, and that it is said once."""

from __future__ import annotations

from dino_foresight_ros.ros.stream_watch import PeriodWatch, StreamChange, StreamWatch


def test_stop_and_return_are_told_once_each() -> None:
    watch = StreamWatch(timeout_s=3.0, now_s=0.0)
    assert watch.frame(1.0) is None
    assert [watch.check(t) for t in (2.0, 3.9)] == [None, None]
    assert watch.check(4.0) is StreamChange.STOPPED
    assert [watch.check(t) for t in (5.0, 500.0)] == [None, None]
    assert watch.is_silent
    assert watch.frame(501.0) is StreamChange.RESUMED
    assert watch.frame(501.1) is None
    assert watch.check(504.2) is StreamChange.STOPPED


def test_stream_that_never_came_is_told_apart() -> None:
    watch = StreamWatch(timeout_s=3.0, now_s=10.0)
    assert watch.check(12.9) is None
    assert watch.check(13.1) is StreamChange.NEVER_STARTED
    assert watch.check(99.0) is None
    assert watch.frame(100.0) is None
    assert not watch.is_silent
    assert watch.age_s(101.0) == 1.0


def test_period_is_the_median_of_the_newest_intervals() -> None:
    watch = PeriodWatch(least=3, most=5)
    for stamp, period in [(0, None), (100, None), (200, None), (950, 100), (1050, 100)]:
        watch.frame(stamp)
        assert watch.period_ns == period
    for stamp in range(2000, 6000, 500):  # a slower camera now
        watch.frame(stamp)
    assert watch.period_ns == 500
    watch.restart()
    assert watch.period_ns is None


def test_duplicates_old_frames_and_loops_are_no_intervals() -> None:
    watch = PeriodWatch(least=2)
    for stamp in (10**10, 10**10, 10**10 + 5, 10**10 + 3, 10**10 + 10):
        watch.frame(stamp)
    assert watch.period_ns == 5
    for stamp in (7, 12, 17, 22):  # a recording that loops
        watch.frame(stamp)
    assert watch.period_ns == 5
