"""The scheduler with several cameras: batches, groups, and accounts of each."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_harness import MS, Clock, FakeEngine, Harness, SlowEngine

from dino_foresight_ros.runtime.grouping import Grouper


def cameras(
    engine: FakeEngine | None = None, outputs: Any = None, clock: Clock | None = None
) -> Harness:
    one = Harness(engine, outputs, clock, Grouper(20 * MS, silent_s=0.5))
    one.scheduler.start()
    return one


def send(one: Harness, names: str, stamp_ms: int) -> None:
    for camera in names:
        one.submit("x", stamp_ms * MS, camera)


def test_frames_of_one_instant_are_one_batch() -> None:
    one = cameras()
    for stamp_ms in (0, 200, 400):
        for index, camera in enumerate("abc"):
            send(one, camera, stamp_ms + index)
        one.settle()
    # Of the first, nobody knows yet which cameras there are.
    assert one.engine.batches[-2:] == [["a", "b", "c"]] * 2
    one.check_accounts_of("abc")


def test_missing_camera_holds_nobody_up_for_long() -> None:
    one = cameras()
    for stamp_ms in (0, 200):
        send(one, "abc", stamp_ms)
        one.settle()
    send(one, "ab", 400)
    one.clock.advance(0.049)
    one.scheduler.work()
    assert one.counts().in_flight == 2  # c is waited for
    one.clock.advance(0.002)
    one.scheduler.work()
    assert one.engine.batches[-1] == ["a", "b"]
    one.clock.advance(0.6)  # until c counts as gone
    send(one, "ab", 600)
    one.settle()
    send(one, "ab", 800)
    one.scheduler.work()
    assert one.counts().in_flight == 0  # c is not waited for any more
    assert one.engine.batches[-1] == ["a", "b"]
    one.check_accounts_of("abc")


def test_newest_group_wins_and_a_slow_camera_is_not_starved() -> None:
    one = cameras()
    send(one, "abc", 0)
    one.settle()

    def meanwhile() -> None:  # while the model works, c comes once only
        for stamp_ms in range(400, 2400, 200):
            send(one, "abc" if stamp_ms == 400 else "ab", stamp_ms)
        one.clock.advance(0.1)  # long enough for the groups without c to go on

    one.engine.meanwhile = meanwhile
    send(one, "abc", 200)
    one.settle()
    assert {("c", 400 * MS), ("a", 2200 * MS), ("b", 2200 * MS)} <= set(one.published_of)
    assert one.engine.batches[-1] == ["a", "b", "c"]
    one.check_accounts_of("abc")


def test_one_camera_s_broken_picture_leaves_the_batch_to_the_others() -> None:
    one = cameras()
    for stamp_ms, payload in ((0, "x"), (200, "x"), (400, "broken")):
        for camera in "abc":
            one.submit(payload if camera == "b" else "x", stamp_ms * MS, camera)
        one.settle()
    assert one.engine.batches[-1] == ["a", "c"]
    assert one.counts("b").dropped == {"bad_image": 1}
    assert one.counts("a").dropped == {}
    one.check_accounts_of("abc")


def test_a_question_has_contexts_of_cameras_filled_that_nobody_listens_to() -> None:
    one = cameras()

    def question() -> Generator[None, None, str]:
        yield
        return "answer"

    answer = one.scheduler.ask(question())
    for stamp_ms in (0, 200):
        one.outputs = {}
        send(one, "ab", stamp_ms)
        one.settle()
    assert answer.result(timeout=0) == "answer"
    assert one.engine.encoded == {"a": [0, 200 * MS], "b": [0, 200 * MS]}
    one.clock.advance(60.0)  # long after it, they cost nothing any more
    send(one, "ab", 60_000)
    one.settle()
    assert len(one.engine.encoded["b"]) == 2
    one.check_accounts_of("ab")


def test_of_several_cameras_unwanted_ones_are_not_even_decoded() -> None:
    one = cameras()
    one.outputs_of = {"b": {1: frozenset()}, "c": frozenset()}
    for stamp_ms in (0, 200):
        for camera in "abc":
            one.submit("broken" if camera == "b" else "x", stamp_ms * MS, camera)
        one.settle()
    assert {camera for batch in one.engine.batches for camera in batch} == {"a"}
    assert one.counts("b").dropped == {"unwanted": 2}
    assert one.counts("c").dropped == {"unwanted": 2}
    one.check_accounts_of("abc")


@pytest.mark.parametrize("fill", [True, False])
def test_replaced_frames_fill_contexts_of_every_camera_where_asked_for(fill: bool) -> None:
    clock = Clock()
    engine = SlowEngine(clock, 0.05, encode_s=0.002, forecast_s=0.03)
    one = cameras(engine, frozenset({"depth"}), clock)
    one.scheduler.fill_context = fill
    one.stream("abc", period_s=0.01, end_s=2.0)
    one.check_accounts_of("abc")
    for camera in "abc":
        counts = one.counts(camera)
        assert counts.forecasts >= (2 if fill else 0)
        assert counts.dropped["superseded"] > 0
        assert ("context_only" in counts.dropped) == fill


@settings(max_examples=50, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["good", "broken", "unpublishable"]),
            st.integers(-60, 60),
            st.floats(0.0, 0.03),
        ),
        max_size=40,
    ),
)
def test_every_frame_of_every_camera_is_accounted_for(frames: Any) -> None:
    one = cameras(FakeEngine(fill=3))
    for index, (camera, payload, jitter_ms, pause_s) in enumerate(frames):
        one.submit(payload, 10**12 + (20 * index + jitter_ms) * MS, camera)
        counts = one.counts()
        assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        one.clock.advance(pause_s)
        if pause_s > 0.01:
            one.scheduler.work()
    one.scheduler.stop()
    one.check_accounts_of("abc")
    assert one.counts().in_flight == 0
