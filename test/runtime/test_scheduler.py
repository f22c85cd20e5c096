"""The scheduler: the newest frame wins and every frame is accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_harness import IMAGE, MS, Clock, FakeEngine, Harness, SlowEngine

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.runtime.context import Arrival
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.request import OutputRequest


def started(engine: FakeEngine | None = None, outputs: Any = None) -> Harness:
    one = Harness(engine, outputs)
    one.scheduler.start()
    return one


def test_newest_frame_replaces_the_waiting_one() -> None:
    one = started()

    def meanwhile() -> None:
        for stamp in range(1, 500):
            one.submit("a", stamp)
        counts = one.counts()
        # In work, waiting, and one that could still serve the context.
        assert (counts.received, counts.in_flight) == (500, 3)
        assert counts.dropped == {"superseded": 497}

    one.engine.meanwhile = meanwhile
    one.submit("a", 0)
    one.settle()
    assert one.published == [0, 499]
    one.check_accounts()


def test_slow_engine_under_a_steady_stream_keeps_the_delay_bounded() -> None:
    clock = Clock()
    one = Harness(SlowEngine(clock, 0.2, encode_s=0.0, forecast_s=0.02), clock=clock)
    one.scheduler.start()
    one.stream("a", period_s=0.002, end_s=2.0)
    one.check_accounts()
    assert one.published == sorted(one.published)
    assert one.published[-1] == 10**9 + 1998 * MS
    # A queue would let the delay grow towards seconds: a frame waits for one pass at most.
    assert one.scheduler.statistics.latency.percentile_s(100) < 0.05


def test_engine_slower_than_its_interval_still_gets_whole_contexts() -> None:
    """A pass takes four intervals: whoever sees only the newest frames never fills a context."""
    clock = Clock()
    engine = SlowEngine(clock, 0.05, encode_s=0.005, forecast_s=0.2)
    one = Harness(engine, frozenset({"depth"}), clock)
    one.scheduler.start()
    one.stream("a", period_s=0.01, end_s=2.5)
    one.check_accounts()
    reasons = one.counts().dropped
    assert len(one.published) >= 8
    assert set(reasons) == {"context_filling", "context_only", "superseded"}
    # At most the three older frames of a context are encoded on top of each newest one.
    assert len(engine.seen) <= 4 * (len(one.published) + reasons["context_filling"])
    assert engine.seen == sorted(engine.seen)


@settings(max_examples=50, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from(["good", "broken", "unpublishable"]), st.booleans(), st.booleans()
        )
    ),
)
def test_every_frame_is_accounted_for(frames: list[tuple[str, bool, bool]]) -> None:
    one = started(FakeEngine(fill=3))
    for stamp, (payload, is_negative, is_worked_at) in enumerate(frames):
        one.submit(payload, -stamp if is_negative else stamp)
        counts = one.counts()
        assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        assert counts.in_flight <= 3
        if is_worked_at:
            one.scheduler.work()
    one.scheduler.stop()
    one.check_accounts()
    assert one.counts().in_flight == 0


def test_failures_are_named_and_the_next_frame_works() -> None:
    one = started()
    for payload, stamp in [("broken", 1), ("a", -2), ("unpublishable", 3), ("a", 4)]:
        one.submit(payload, stamp)
        one.settle()
    assert one.counts().dropped == {"bad_image": 1, "error": 2}
    assert one.errors == [
        ("bad_image", "broken picture"),
        ("error", "negative"),
        ("error", "no publisher"),
    ]
    assert one.published == [4]
    assert one.sizes == [IMAGE.shape[:2]]
    one.check_accounts()


def test_reasons_of_the_engine_are_counted_by_name() -> None:
    one = started(FakeEngine(fill=2))
    for stamp in range(2):
        one.submit("a", stamp)
        one.settle()
    one.engine.fill = 4
    one.engine.arrival = Arrival.TIME_JUMP
    one.submit("a", 2)
    one.settle()
    one.scheduler.refuse(one.frame("a", 0), DropReason.NO_STAMP)
    assert one.counts().dropped == {"context_filling": 2, "time_jump": 1, "no_stamp": 1}
    one.check_accounts()


@pytest.mark.parametrize("nothing", [frozenset(), {}, {1: frozenset(), 2: frozenset()}])
def test_unwanted_frames_feed_the_context_and_are_dropped(nothing: Any) -> None:
    one = started(outputs=nothing)
    one.submit("a", 1)
    one.settle()
    assert one.engine.seen == [1]
    assert [request.outputs for request in one.engine.requests] == [nothing]
    assert one.drops == [(1, "unwanted")]
    one.outputs = {1: frozenset(), 2: frozenset({"depth"})}
    one.submit("a", 2)
    one.settle()
    assert one.published == [2]


def test_reset_drops_the_waiting_frames_and_then_the_context() -> None:
    one = started()

    def meanwhile() -> None:
        one.hold_back(1)
        one.submit("a", 2)
        assert one.scheduler.reset() == 2
        assert one.drops == [(1, "reset"), (2, "reset")]
        assert one.engine.resets == 1  # that of the start: a pass runs

    one.engine.meanwhile = meanwhile
    one.submit("a", 0)
    one.settle()
    one.scheduler.work()  # and no other frame is needed
    assert one.engine.resets == 2
    one.check_accounts()


def test_how_the_base_moves_is_asked_in_a_frames_turn() -> None:
    """Odometry of its instant may come after the picture."""
    one, known = Harness(FakeEngine()), []
    request = OutputRequest(frozenset({"depth"}))
    frame = QueuedFrame(IMAGE, 10**9, 0.0, request=request, motion=lambda: tuple(known))
    one.scheduler.start()
    one.scheduler.submit(frame)
    known.append((1.0, 0.0, 0.1))
    nothing = QueuedFrame(
        IMAGE, 2 * 10**9, 0.0, request=OutputRequest(frozenset()), motion=lambda: 1 / 0
    )
    one.settle()
    one.scheduler.submit(nothing)
    one.settle()
    assert [asked.motion for asked in one.engine.requests] == [((1.0, 0.0, 0.1),), None]


def test_frame_held_back_is_forecast_by_none() -> None:
    one = started()
    interval_ns = one.engine.rule.interval_ns
    for k in range(4):
        one.hold_back(k * interval_ns)
    one.scheduler.work()
    assert one.engine.seen == []
    one.submit("a", 4 * interval_ns)
    one.settle()
    assert one.published == [4 * interval_ns]
    # Three fill the context; the first is older than it and was of no use.
    assert one.engine.seen == [k * interval_ns for k in (1, 2, 3, 4)]
    assert dict(one.drops) == {
        0: "rate_limited",
        interval_ns: "context_only",
        2 * interval_ns: "context_only",
        3 * interval_ns: "context_only",
    }
    one.check_accounts()


def test_frame_too_old_in_its_turn_keeps_the_context_only() -> None:
    one = started(outputs=frozenset({"depth"}))
    for stamp_ms, late_ms in ((0, 101), (200, 100)):
        one.submit("a", stamp_ms * MS, max_age_ns=100 * MS)
        one.clock.advance((stamp_ms + late_ms) / 1000 - one.clock.now_s)
        one.scheduler.work()
    assert one.drops == [(0, "too_old")]
    assert one.published == [200 * MS]
    assert [request.is_empty for request in one.engine.requests] == [True, False]


def test_stopped_scheduler_counts_every_frame_as_inactive() -> None:
    one = started()
    one.submit("a", 0)
    one.scheduler.stop()
    one.hold_back(1)
    one.submit("a", 2)
    one.scheduler.work()
    assert one.drops == [(0, "inactive"), (1, "inactive"), (2, "inactive")]
    assert one.engine.seen == []


@pytest.mark.parametrize("threads", [1, 2])
def test_a_context_that_gave_nan_is_told_as_empty_at_once(bundle: Bundle, threads: int) -> None:
    engine: Any = Foresight(bundle, steps=1, threads=threads)
    one = started(engine)
    for k in range(4):
        one.submit("a", k * 200 * MS)
        one.scheduler.work()
    assert one.scheduler.contexts == {"": "4/4 frames"}
    hook = engine.heads["depth"].register_forward_hook(lambda _, __, out: out * float("nan"))
    one.submit("a", 800 * MS)
    one.scheduler.work()
    hook.remove()
    assert [reason for reason, _ in one.errors] == ["bad_output"]
    assert one.scheduler.contexts == {"": "0/4 frames"}
    assert one.scheduler.context_state == "0/4 frames"


def test_contexts_are_a_copy_that_nobody_changes_while_it_is_read() -> None:
    one = started()
    one.submit("a", 0, "left")
    one.settle()
    contexts = one.scheduler.contexts
    assert contexts == {"left": "4/4 frames"}
    one.submit("a", 1, "right")
    one.settle()
    assert set(contexts) == {"left"}
    assert set(one.scheduler.contexts) == {"left", "right"}
