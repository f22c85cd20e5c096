"""Pacing and reading ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest

from dino_foresight_ros.recordings.playback import Pacer, ReadAhead


class Clock:
    """A monotonic clock that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def play(pacer: Pacer, clock: Clock, stamps_ns: list[int], work_s: float = 0.0) -> list[float]:
    """Return when each stamp was played; every one costs `work_s` on top."""
    played = []
    for stamp_ns in stamps_ns:
        clock.now_s += max(0.0, pacer.wait_s(stamp_ns))
        played.append(clock.now_s - 1000.0)
        clock.now_s += work_s
    return played


@pytest.mark.parametrize("rate", [0.5, 1.0, 4.0])
def test_playing_does_not_drift(rate: float) -> None:
    clock = Clock()
    stamps_ns = [10**18 + i * 33_333_333 for i in range(10_000)]
    played = play(Pacer(rate, clock), clock, stamps_ns, work_s=0.004)
    assert played[-1] == pytest.approx(9_999 * 0.033333333 / rate, abs=1e-4)
    assert played[5_000] == pytest.approx(5_000 * 0.033333333 / rate, abs=1e-4)


def test_a_short_stall_is_caught_up() -> None:
    clock = Clock()
    pacer = Pacer(1.0, clock)
    stamps_ns = [i * 100_000_000 for i in range(20)]
    play(pacer, clock, stamps_ns[:5])
    clock.now_s += 0.5
    assert play(pacer, clock, stamps_ns[5:])[-1] == pytest.approx(1.9)
    assert pacer.restarts == 0


def test_a_long_stall_is_no_reason_for_a_burst() -> None:
    clock = Clock()
    pacer = Pacer(1.0, clock)
    stamps_ns = [i * 100_000_000 for i in range(100)]
    play(pacer, clock, stamps_ns[:5])
    clock.now_s += 60.0
    played = play(pacer, clock, stamps_ns[5:])
    steps = [after - before for before, after in pairwise(played)]
    assert min(steps) == pytest.approx(0.1)
    assert pacer.restarts == 1


def test_rewinding_starts_a_round_at_once() -> None:
    clock = Clock()
    pacer = Pacer(1.0, clock)
    play(pacer, clock, [0, 10**9])
    pacer.rewind()
    assert pacer.wait_s(0) == 0.0
    assert pacer.wait_s(10**9) == pytest.approx(1.0)


def test_media_time_runs_with_the_rate() -> None:
    assert Pacer(2.0).media_time_ns(5 * 10**9, 0.5) == 4 * 10**9
    assert Pacer(2.0).media_time_ns(5 * 10**9, -0.5) == 5 * 10**9


def test_items_come_in_order() -> None:
    assert list(ReadAhead(iter(range(100)), depth=3)) == list(range(100))


def test_no_more_than_depth_items_are_read_ahead() -> None:
    given = 0
    too_early: list[int] = []
    waits = threading.Event()

    def items() -> Iterator[int]:
        for index in range(100):
            # One is being given out, three lie in the queue, one waits to be put there.
            if index > given + 5:
                too_early.append(index)
            if index == 4:
                waits.set()
            yield index

    ahead = ReadAhead(items(), depth=3)
    assert next(ahead) == 0
    assert waits.wait(30)  # so far ahead it reads
    for given in range(1, 60):
        assert next(ahead) == given
    assert not too_early
    ahead.close()


def test_errors_come_out_where_the_items_are_read() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    ahead = ReadAhead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_closing_ends_the_thread_and_the_iterator() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            ended.set()

    ahead = ReadAhead(items())
    next(ahead)
    ahead.close()
    assert ended.wait(2.0)
    assert list(ahead) == []
