"""The worker with several cameras: batches, groups, and accounts of each."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_harness import Cameras, FakeEngine, SlowEngine, wait_until


@pytest.fixture
def cameras() -> Any:
    made: list[Cameras] = []

    def make(engine: FakeEngine | None = None, wanted: Any = None) -> Cameras:
        made.append(Cameras(engine, wanted))
        return made[-1]

    yield make
    for one in made:
        one.engine.gate.set()
        assert one.worker.stop()


MS = 1_000_000


def test_frames_of_one_instant_are_one_batch(cameras: Any) -> None:
    one = cameras()
    for stamp in (0, 200 * MS, 400 * MS):
        for index, camera in enumerate("abc"):
            one.worker.submit("x", stamp + index * MS, camera)
        one.settle()
    # Of the first, nobody knows yet which cameras there are.
    assert one.engine.batches[-2:] == [["a", "b", "c"]] * 2
    one.check_accounts()


def test_missing_camera_holds_nobody_up_for_long(cameras: Any) -> None:
    one = cameras()
    for stamp in (0, 200 * MS):
        for camera in "abc":
            one.worker.submit("x", stamp, camera)
        one.settle()
    started = time.monotonic()
    for camera in "ab":
        one.worker.submit("x", 400 * MS, camera)
    one.settle()
    assert time.monotonic() - started >= 0.04  # c was waited for
    assert one.engine.batches[-1] == ["a", "b"]
    time.sleep(0.6)  # until c counts as gone
    one.worker.submit("x", 600 * MS, "a")
    one.worker.submit("x", 600 * MS, "b")
    one.settle()
    one.engine.gate.clear()
    for camera in "ab":
        one.worker.submit("x", 800 * MS, camera)
    with one.worker._condition:
        assert one.worker._inbox.next_due_s is None  # c is not waited for any more
    one.engine.gate.set()
    one.settle()
    one.check_accounts()


def test_newest_group_wins_and_a_slow_camera_is_not_starved(cameras: Any) -> None:
    one = cameras()
    for camera in "abc":
        one.worker.submit("x", 0, camera)
    one.settle()
    one.engine.gate.clear()
    one.engine.entered.clear()
    for camera in "abc":
        one.worker.submit("x", 200 * MS, camera)
    assert one.engine.entered.wait(5)
    for stamp in range(400, 2400, 200):  # while the model works, c comes once only
        for camera in "abc" if stamp == 400 else "ab":
            one.worker.submit("x", stamp * MS, camera)
    # Long enough for the groups without c to go on.
    assert wait_until(lambda: one.worker._inbox.next_due_s < time.monotonic())
    one.engine.gate.set()
    one.settle()
    assert {("c", 400 * MS), ("a", 2200 * MS), ("b", 2200 * MS)} <= set(one.published_of)
    assert one.engine.batches[-1] == ["a", "b", "c"]
    one.check_accounts()


def test_one_camera_s_broken_picture_leaves_the_batch_to_the_others(cameras: Any) -> None:
    one = cameras()
    for stamp, payload in ((0, "x"), (200 * MS, "x"), (400 * MS, "broken")):
        for camera in "abc":
            one.worker.submit(payload if camera == "b" else "x", stamp, camera)
        one.settle()
    assert one.engine.batches[-1] == ["a", "c"]
    assert one.worker.counter.counts("b").dropped == {"bad_image": 1}
    assert one.worker.counter.counts("a").dropped == {}
    one.check_accounts()


def test_of_several_cameras_unwanted_ones_are_not_even_decoded(cameras: Any) -> None:
    one = cameras()
    one.wanted_by = {"b": {1: frozenset()}, "c": frozenset()}
    for stamp in (0, 200 * MS):
        for camera in "abc":
            one.worker.submit("broken" if camera == "b" else "x", stamp, camera)
        one.settle()
    assert {camera for batch in one.engine.batches for camera in batch} == {"a"}
    assert one.worker.counter.counts("b").dropped == {"unwanted": 2}
    assert one.worker.counter.counts("c").dropped == {"unwanted": 2}
    one.check_accounts()


@pytest.mark.parametrize("fill", [True, False])
def test_replaced_frames_fill_contexts_of_every_camera_where_asked_for(
    cameras: Any, fill: bool
) -> None:
    engine = SlowEngine(0.05, encode_s=0.002, forecast_s=0.1)
    one = cameras(engine, wanted=frozenset({"depth"}))
    one.worker.fill_context = fill
    started = time.monotonic()
    while (elapsed_s := time.monotonic() - started) < 2.0:
        for camera in "abc":
            one.worker.submit("x", 10**9 + round(elapsed_s * 1e9), camera)
        time.sleep(0.01)
    one.settle()
    one.check_accounts()
    for camera in "abc":
        counts = one.worker.counter.counts(camera)
        assert counts.forecasts >= 2
        assert counts.dropped["superseded"] > 0
        assert ("context_only" in counts.dropped) == fill


@settings(max_examples=25, deadline=None)
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["good", "broken", "unpublishable"]),
            st.integers(-60, 60),
        ),
        max_size=40,
    ),
    pauses=st.randoms(use_true_random=False),
)
def test_every_frame_of_every_camera_is_accounted_for(frames: Any, pauses: Any) -> None:
    one = Cameras(FakeEngine(fill=3))
    for index, (camera, payload, jitter_ms) in enumerate(frames):
        one.worker.submit(payload, 10**12 + (20 * index + jitter_ms) * MS, camera)
        counts = one.worker.counter.counts()
        assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        time.sleep(pauses.choice([0.0, 0.0005]))
    assert one.worker.stop()
    one.check_accounts()
    assert one.worker.counter.counts().in_flight == 0
