"""The buffer's choice by time, against a brute-force search over random streams."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_foresight_ros.runtime import Arrival, ContextBuffer, EvenContext

MS = 1_000_000
RULE = EvenContext.for_interval(frames=4, interval_s=0.2)


def brute_force(stamps: list[int], rule: EvenContext) -> list[int] | None:
    """Every combination of frames; the one with the least total distance to the instants."""
    newest = stamps[-1]
    targets = [newest - k * rule.interval_ns for k in range(rule.frames)][::-1]
    best: tuple[int, list[int]] | None = None
    for chosen in itertools.combinations(stamps, rule.frames):
        errors = [abs(s - t) for s, t in zip(chosen, targets, strict=True)]
        if chosen[-1] != newest or max(errors) > rule.tolerance_ns:
            continue
        # Of equally near frames the newer one.
        if best is None or (sum(errors), [-s for s in chosen]) < (best[0], [-s for s in best[1]]):
            best = (sum(errors), list(chosen))
    return None if best is None else best[1]


def push(buffer: ContextBuffer, stamp: int) -> Arrival:
    return buffer.push(
        stamp, (torch.full((1, 1, 1), float(stamp % 1_000_003), dtype=torch.float64),)
    )


def small_buffer(rule: EvenContext = RULE, capacity: int | None = None) -> ContextBuffer:
    return ContextBuffer(rule, capacity)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    gaps=st.lists(st.integers(min_value=17, max_value=260), min_size=1, max_size=22),
    interval_ms=st.integers(min_value=60, max_value=300),
    frames=st.integers(min_value=1, max_value=5),
)
def test_the_choice_is_the_one_a_brute_force_search_makes(
    gaps: list[int], interval_ms: int, frames: int
):
    rule = EvenContext(
        frames, interval_ms * MS, int(0.45 * interval_ms * MS), max_gap_ns=10_000 * MS
    )
    buffer, stamps = small_buffer(rule), [10**18]
    push(buffer, stamps[0])
    for gap in gaps:
        stamps.append(stamps[-1] + gap * MS)
        push(buffer, stamps[-1])
        expected = brute_force(stamps, rule)
        got = buffer.context_stamps()
        assert (None if got is None else list(got)) == expected
        if expected is not None:
            values = [float(s % 1_000_003) for s in expected]
            assert buffer.context()[0].flatten().tolist() == values


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    stamps=st.lists(st.integers(min_value=0, max_value=3000), min_size=1, max_size=80),
    capacity=st.integers(min_value=8, max_value=20),
)
def test_any_stream_leaves_rising_stamps_and_bounded_memory(stamps: list[int], capacity: int):
    buffer = small_buffer(capacity=capacity)
    for stamp in stamps:
        before = buffer.stamps_ns
        arrival = push(buffer, stamp * MS)
        assert len(buffer) <= capacity
        assert list(buffer.stamps_ns) == sorted(set(buffer.stamps_ns))
        if arrival.accepted:
            assert buffer.stamps_ns[-1] == stamp * MS
        else:
            assert buffer.stamps_ns == before


def test_a_30_hz_camera_feeds_a_slower_model():
    buffer = small_buffer()
    counts = []
    for i in range(60):
        push(buffer, 10**18 + round(i * 1e9 / 30))
        counts.append(buffer.context_stamps() is not None)
    first = counts.index(True)
    assert all(counts[first:])
    assert 0.51 <= first / 30 <= 0.6


@pytest.mark.parametrize("rate_hz", [200, 1000, 5000])
def test_a_camera_faster_than_the_capacity_still_gets_a_context(rate_hz: int):
    buffer = small_buffer()
    for i in range(2 * rate_hz):
        push(buffer, 10**18 + round(i * 1e9 / rate_hz))
    stamps = buffer.context_stamps()
    assert stamps is not None
    for k, stamp in enumerate(reversed(stamps)):
        assert abs(stamps[-1] - k * RULE.interval_ns - stamp) <= RULE.tolerance_ns
    assert len(buffer) <= buffer.capacity


def test_arrivals_are_told_apart():
    buffer = small_buffer()
    for ms in (0, 200, 400, 600):
        assert push(buffer, (10_000 + ms) * MS) is Arrival.APPEND
    assert push(buffer, 10_600 * MS) is Arrival.DUPLICATE
    assert push(buffer, 10_400 * MS) is Arrival.DUPLICATE
    assert push(buffer, 10_500 * MS) is Arrival.OUT_OF_ORDER
    assert len(buffer) == 4
    assert push(buffer, 11_200 * MS) is Arrival.GAP
    assert buffer.stamps_ns == (11_200 * MS,)
    assert push(buffer, 2_000 * MS) is Arrival.TIME_JUMP
    assert buffer.stamps_ns == (2_000 * MS,)


def test_filling_is_counted_from_the_newest_frame():
    buffer = small_buffer()
    filled = []
    for i in range(4):
        push(buffer, i * 200 * MS)
        filled.append(buffer.filled())
    assert filled == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "arguments",
    [
        {"frames": 0, "interval_ns": 1, "tolerance_ns": 0, "max_gap_ns": 1},
        {"frames": 4, "interval_ns": 10, "tolerance_ns": 5, "max_gap_ns": 1},
        {"frames": 4, "interval_ns": 10, "tolerance_ns": 4, "max_gap_ns": 0},
    ],
)
def test_a_rule_that_cannot_be_is_refused(arguments: dict):
    with pytest.raises(ValueError, match=r"context|tolerance|max_gap"):
        EvenContext(**arguments)


@given(
    frames=st.integers(2, 6),
    interval_ms=st.integers(20, 500),
    tolerance=st.sampled_from([0.1, 0.3, 0.45]),
    share=st.floats(1.001, 3.0),
)
@settings(deadline=None, max_examples=60)
def test_no_context_fills_below_the_needed_rate(
    frames: int, interval_ms: int, tolerance: float, share: float
) -> None:
    rule = EvenContext.for_interval(frames, interval_ms / 1000, tolerance)
    period = int(rule.longest_period_ns * share) + 1
    assert rule.rate_problem(period) is not None
    stamps = [10**18 + k * period for k in range(4 * frames)]
    assert all(rule.choose(stamps[: n + 1]) is None for n in range(len(stamps)))


@pytest.mark.parametrize("period_ms", range(5, 231, 15))
def test_every_context_fills_at_the_needed_rate(period_ms: int) -> None:
    assert RULE.longest_period_ns == 230 * MS  # 0.2 s, and a third of the 0.09 s tolerance
    assert RULE.rate_problem(period_ms * MS) is None
    stamps = [10**18 + k * period_ms * MS for k in range(200)]
    full = RULE.span_ns // (period_ms * MS) + 1
    assert all(RULE.choose(stamps[: n + 1]) is not None for n in range(full, 200))


def test_a_rate_problem_says_both_rates() -> None:
    assert RULE.rate_problem(None) is None
    assert RULE.rate_problem(500 * MS) == (
        "2 frames/s come, the model needs 4.35 or more (4 frames 0.2 s apart): no forecast can be "
        "made"
    )
