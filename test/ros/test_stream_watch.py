"""When a stream counts as stopped, and that it is said once."""

from __future__ import annotations

from dino_foresight_ros.ros.stream_watch import StreamChange, StreamWatch


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
