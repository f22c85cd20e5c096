"""The worker thread: the newest frame wins and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_harness import FakeEngine, Harness, SlowEngine, wait_until

from dino_foresight_ros.runtime.context import Arrival
from dino_foresight_ros.runtime.worker import THREAD_NAME


@pytest.fixture
def harness() -> Any:
    made: list[Harness] = []

    def make(engine: FakeEngine | None = None, wanted: Any = None) -> Harness:
        made.append(Harness(engine or FakeEngine(), wanted))
        made[-1].worker.start()
        return made[-1]

    yield make
    for one in made:
        one.engine.gate.set()
        assert one.worker.stop()


def test_newest_frame_replaces_the_waiting_one(harness: Any) -> None:
    one = harness()
    one.engine.gate.clear()
    one.worker.submit("a", 0)
    assert one.engine.entered.wait(5)
    for stamp in range(1, 500):
        one.worker.submit("a", stamp)
    counts = one.worker.counter.counts()
    # In work, waiting, and one that could still serve the context.
    assert (counts.received, counts.in_flight) == (500, 3)
    assert counts.dropped == {"superseded": 497}
    one.engine.gate.set()
    one.settle()
    assert one.published == [0, 499]
    one.check_accounts()


def test_slow_engine_under_a_steady_stream_keeps_the_delay_bounded(harness: Any) -> None:
    one = harness(FakeEngine(duration_s=0.02))
    for stamp in range(200):
        one.worker.submit("a", stamp)
        time.sleep(0.002)
    one.settle()
    one.check_accounts()
    assert one.published == sorted(one.published)
    assert one.published[-1] == 199
    # A queue would let the delay grow towards seconds: a frame waits for one pass at most.
    assert one.worker.latency.percentile_s(50) < 0.1


def test_engine_slower_than_its_interval_still_gets_whole_contexts(harness: Any) -> None:
    """A pass takes four intervals: whoever sees only the newest frames never fills a context."""
    one = harness(SlowEngine(0.05, encode_s=0.005, forecast_s=0.2), wanted=frozenset({"depth"}))
    started = time.monotonic()
    while (elapsed_s := time.monotonic() - started) < 2.5:
        one.worker.submit("a", 10**9 + round(elapsed_s * 1e9))
        time.sleep(0.01)
    one.settle()
    one.check_accounts()
    reasons = one.worker.counter.counts().dropped
    assert len(one.published) >= 5
    assert set(reasons) == {"context_filling", "context_only", "superseded"}
    # At most the three older frames of a context are encoded on top of each newest one.
    assert len(one.engine.seen) <= 4 * (len(one.published) + reasons["context_filling"])
    assert one.engine.seen == sorted(one.engine.seen)


@settings(max_examples=25, deadline=None)
@given(
    payloads=st.lists(st.sampled_from(["good", "broken", "unpublishable"]), max_size=30),
    pauses=st.randoms(use_true_random=False),
)
def test_every_frame_is_accounted_for(payloads: list[str], pauses: Any) -> None:
    one = Harness(FakeEngine(fill=3))
    one.worker.start()
    for stamp, payload in enumerate(payloads):
        one.worker.submit(payload, -stamp if pauses.random() < 0.2 else stamp)
        one.check = one.worker.counter.counts()
        assert one.check.received == (
            one.check.forecasts + one.check.dropped_total + one.check.in_flight
        )
        assert one.check.in_flight <= 3
        time.sleep(pauses.choice([0.0, 0.0005]))
    assert one.worker.stop()
    one.check_accounts()
    assert one.worker.counter.counts().in_flight == 0


def test_failures_are_named_and_the_next_frame_works(harness: Any) -> None:
    one = harness()
    for payload, stamp in [("broken", 1), ("a", -2), ("unpublishable", 3), ("a", 4)]:
        one.worker.submit(payload, stamp)
        one.settle()
    assert one.worker.counter.counts().dropped == {"bad_image": 1, "error": 2}
    assert one.errors == [
        ("bad_image", "broken picture"),
        ("error", "negative"),
        ("error", "no publisher"),
    ]
    assert one.published == [4]
    one.check_accounts()


def test_reasons_of_the_engine_are_counted_by_name(harness: Any) -> None:
    one = harness(FakeEngine(fill=2))
    for stamp in range(2):
        one.worker.submit("a", stamp)
        one.settle()
    one.engine.fill = 4
    one.engine.arrival = Arrival.TIME_JUMP
    one.worker.submit("a", 2)
    one.settle()
    one.worker.refuse("a", 0, "no_stamp")
    assert one.worker.counter.counts().dropped == {
        "context_filling": 2,
        "time_jump": 1,
        "no_stamp": 1,
    }
    one.check_accounts()


@pytest.mark.parametrize("nothing", [frozenset(), {}, {1: frozenset(), 2: frozenset()}])
def test_unwanted_frames_feed_the_context_and_are_dropped(harness: Any, nothing: Any) -> None:
    one = harness(wanted=nothing)
    one.worker.submit("a", 1)
    one.settle()
    assert one.engine.seen == [1]
    assert [request.outputs for request in one.engine.requests] == [nothing]
    assert one.drops == [(1, "unwanted")]
    one.wanted = {1: frozenset(), 2: frozenset({"depth"})}
    one.worker.submit("a", 2)
    one.settle()
    assert one.published == [2]


def test_stop_during_a_pass_discards_its_result(harness: Any) -> None:
    one = harness()
    one.engine.gate.clear()
    one.worker.submit("a", 1)
    assert one.engine.entered.wait(5)
    one.worker.submit("a", 2)
    assert not one.worker.stop(timeout_s=0.05)
    one.worker.submit("a", 3)
    one.engine.gate.set()
    assert one.worker.stop()
    assert one.published == []
    assert sorted(one.drops) == [(1, "inactive"), (2, "inactive"), (3, "inactive")]
    one.check_accounts()


def test_restart_during_an_old_pass_discards_it_and_goes_on(harness: Any) -> None:
    one = harness()
    one.engine.gate.clear()
    one.worker.submit("a", 1)
    assert one.engine.entered.wait(5)
    assert not one.worker.stop(timeout_s=0.01)
    one.worker.start()
    one.engine.gate.set()
    one.settle()
    assert one.drops == [(1, "inactive")]
    one.worker.submit("a", 2)
    one.settle()
    assert one.published == [2]
    assert one.engine.resets == 2
    one.check_accounts()


def count_workers() -> int:
    return sum(thread.name == THREAD_NAME for thread in threading.enumerate())


def test_restart_after_stop_starts_with_an_empty_context(harness: Any) -> None:
    before = count_workers()
    one = harness()
    for round_ in range(3):
        one.worker.submit("a", round_)
        one.settle()
        assert one.engine.resets == round_ + 1
        assert one.worker.stop()
        one.worker.start()
    assert count_workers() <= before + 1


def test_reset_asked_by_anybody_happens_in_the_engine_s_thread(harness: Any) -> None:
    one = harness()
    one.worker.submit("a", 1)
    one.settle()
    assert one.engine.resets == 1
    one.engine.gate.clear()
    one.engine.entered.clear()
    one.worker.submit("a", 2)
    assert one.engine.entered.wait(5)
    one.worker.reset()
    assert one.engine.resets == 1  # a pass runs
    one.engine.gate.set()
    assert wait_until(lambda: one.engine.resets == 2)  # and no other frame is needed
    one.settle()


def test_reset_drops_the_waiting_frames_too(harness: Any) -> None:
    one = harness()
    one.engine.gate.clear()
    one.worker.submit("a", 0)
    assert one.engine.entered.wait(5)
    one.worker.offer("a", 1, "rate_limited")
    one.worker.submit("a", 2)
    assert one.worker.reset() == 2
    assert one.drops == [(1, "reset"), (2, "reset")]
    one.engine.gate.set()
    one.settle()
    one.check_accounts()


def test_frame_offered_for_the_context_is_forecast_by_none(harness: Any) -> None:
    one = harness()
    interval_ns = one.engine.rule.interval_ns
    for k in range(4):
        one.worker.offer("a", k * interval_ns, "rate_limited")
    time.sleep(0.05)
    assert one.engine.seen == []  # it does not even wake the thread
    one.worker.submit("a", 4 * interval_ns)
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


def test_frame_too_old_in_its_turn_keeps_the_context_only(harness: Any) -> None:
    one = harness(wanted=frozenset({"depth"}))
    one.worker.submit("old", 1)
    one.settle()
    one.worker.submit("a", 2)
    one.settle()
    assert one.drops == [(1, "too_old")]
    assert one.published == [2]
    assert [request.is_empty for request in one.engine.requests] == [True, False]


def test_stopped_worker_counts_offered_frames_as_inactive(harness: Any) -> None:
    one = harness()
    assert one.worker.stop()
    one.worker.offer("a", 1, "rate_limited")
    assert one.drops == [(1, "inactive")]
