"""The worker thread: the newest frame wins and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.camera_frame import CameraFrame, CameraResult
from dino_foresight_ros.runtime.feature_buffer import Arrival, ContextRule, FeatureBuffer
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.grouping import Grouper
from dino_foresight_ros.runtime.mailbox import Frame
from dino_foresight_ros.runtime.statistics import FrameCounter, LatencyWindow, RateMeter
from dino_foresight_ros.runtime.wanted import is_nothing
from dino_foresight_ros.runtime.worker import THREAD_NAME, ForecastWorker, Hooks

IMAGE = np.zeros((2, 2, 3), np.uint8)


def forecast_at(stamp_ns: int) -> Forecast:
    return Forecast(stamp_ns, (stamp_ns,), 0.2, (), "fake", False, 0.0)


class FakeEngine:
    """Stands in for `Foresight`; `gate` holds a pass until the test lets it go."""

    def __init__(self, fill: int = 0, duration_s: float = 0.0) -> None:
        self.arrival = Arrival.APPEND
        self.batches: list[list[str]] = []
        self.context_state = "4/4 frames"
        self.rule = ContextRule.for_interval(4, 0.2)
        self.fill = fill
        self.duration_s = duration_s
        self.seen: list[int] = []
        self.wanted: list[Any] = []
        self.resets = 0
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def update_cameras(self, frames: Mapping[str, CameraFrame]) -> dict[str, CameraResult]:
        self.batches.append(sorted(frames))
        self.entered.set()
        assert self.gate.wait(10)
        time.sleep(self.duration_s)
        return {name: self.update(name, frame) for name, frame in frames.items()}

    def update(self, camera: str, frame: CameraFrame) -> CameraResult:
        self.seen.append(frame.stamp_ns)
        self.wanted.append(frame.wanted)
        if frame.stamp_ns < 0:
            raise ValueError("negative")
        if frame.wanted is not None and is_nothing(frame.wanted):
            return CameraResult(drop="unwanted", arrival=self.arrival)
        if len(self.seen) <= self.fill:
            return CameraResult(drop="context_filling", arrival=self.arrival)
        return CameraResult(forecast_at(frame.stamp_ns), arrival=self.arrival)

    def context_of(self, camera: str) -> str:
        return self.context_state

    def reset(self) -> None:
        self.resets += 1


class SlowEngine(FakeEngine):
    """Keeps a real context; a forecast takes far longer than the frame interval, as on a CPU."""

    def __init__(self, interval_s: float, encode_s: float, forecast_s: float) -> None:
        super().__init__()
        self.rule = ContextRule.for_interval(4, interval_s)
        self.buffers: dict[str, FeatureBuffer] = {}
        self.encode_s, self.forecast_s = encode_s, forecast_s

    def update(self, camera: str, frame: CameraFrame) -> CameraResult:
        self.seen.append(frame.stamp_ns)
        time.sleep(self.encode_s)
        if camera not in self.buffers:
            self.buffers[camera] = FeatureBuffer(self.rule, (1, 1, 1))
        buffer = self.buffers[camera]
        arrival = buffer.push(frame.stamp_ns, torch.zeros(1, 1, 1))
        if not arrival.accepted:
            return CameraResult(drop=arrival.value, arrival=arrival)
        if buffer.context_stamps() is None:
            return CameraResult(drop="context_filling", arrival=arrival)
        if not frame.wanted:
            return CameraResult(drop="unwanted", arrival=arrival)
        time.sleep(self.forecast_s)
        return CameraResult(forecast_at(frame.stamp_ns), arrival=arrival)


class Harness:
    """A worker with a fake engine, and what it told."""

    def __init__(self, engine: FakeEngine, wanted: Any = None) -> None:
        self.engine = engine
        self.published: list[int] = []
        self.drops: list[tuple[int, str]] = []
        self.errors: list[tuple[str, str]] = []
        self.wanted = wanted
        hooks = Hooks(
            decode=self.decode,
            wanted=lambda camera: self.wanted,
            on_forecast=self.on_forecast,
            on_drop=lambda frame, reason: self.drops.append((frame.stamp_ns, reason)),
            on_error=lambda frame, reason, error: self.errors.append((reason, str(error))),
            too_old=lambda frame: frame.payload == "old",
        )
        self.hooks = hooks
        self.worker = ForecastWorker(engine, hooks)

    def decode(self, frame: Frame) -> np.ndarray:
        if frame.payload == "broken":
            raise InputError("broken picture")
        return IMAGE

    def on_forecast(self, forecast: Forecast, frame: Frame) -> None:
        if frame.payload == "unpublishable":
            raise RuntimeError("no publisher")
        self.published.append(forecast.stamp_ns)

    def settle(self) -> None:
        assert wait_until(lambda: self.worker.counter.counts().in_flight == 0)

    def check_accounts(self) -> None:
        counts = self.worker.counter.counts()
        assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        assert counts.forecasts == len(self.published)
        assert counts.dropped_total == len(self.drops)


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


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
    assert one.engine.wanted == [nothing]
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
    assert [bool(wanted) for wanted in one.engine.wanted] == [False, True]


def test_stopped_worker_counts_offered_frames_as_inactive(harness: Any) -> None:
    one = harness()
    assert one.worker.stop()
    one.worker.offer("a", 1, "rate_limited")
    assert one.drops == [(1, "inactive")]


def test_counts_stay_consistent_while_many_threads_count() -> None:
    counter = FrameCounter()
    stop = threading.Event()
    broken: list[Any] = []

    def watch() -> None:
        while not stop.is_set():
            c = counter.counts()
            if c.received != c.forecasts + c.dropped_total + c.in_flight:
                broken.append(c)

    def count() -> None:
        for index in range(3000):
            counter.receive()
            counter.forecast() if index % 3 else counter.drop(f"reason{index % 2}")

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    assert broken == []
    assert counter.counts().received == 9000
    assert counter.counts().in_flight == 0


def test_percentiles_come_from_the_newest_durations_only() -> None:
    window = LatencyWindow(size=100)
    assert window.percentile_s(50) is None
    assert window.last_s is None
    for value in [*([1000.0] * 50), *range(1, 101)]:
        window.add(float(value))
    assert window.last_s == 100.0
    assert window.percentile_s(50) == pytest.approx(50.5)
    assert window.percentile_s(100) == 100.0


def test_rate_follows_a_steady_stream_and_falls_when_it_ends() -> None:
    meter = RateMeter(window_s=5.0)
    assert meter.rate_hz(0.0) == 0.0
    for index in range(251):
        meter.tick(index / 25.0)
    assert meter.rate_hz(10.0) == pytest.approx(25.0, rel=0.02)
    assert meter.rate_hz(12.5) < 20.0
    assert meter.rate_hz(60.0) == 0.0


class Cameras(Harness):
    """A worker with a grouper for named cameras."""

    def __init__(self, engine: FakeEngine | None = None, wanted: Any = None) -> None:
        self.published_of: list[tuple[str, int]] = []
        super().__init__(engine or FakeEngine(), wanted)
        self.worker = ForecastWorker(
            self.engine,
            replace(self.hooks, wanted=self.wanted_of),
            grouper=Grouper(20_000_000, silent_s=0.5),
        )
        self.wanted_by: dict[str, Any] = {}
        self.worker.start()

    def wanted_of(self, camera: str) -> Any:
        return self.wanted_by.get(camera, self.wanted)

    def on_forecast(self, forecast: Forecast, frame: Frame) -> None:
        super().on_forecast(forecast, frame)
        self.published_of.append((frame.camera, forecast.stamp_ns))

    def check_accounts(self) -> None:
        super().check_accounts()
        total = self.worker.counter.counts()
        each = [self.worker.counter.counts(camera) for camera in "abc"]
        for counts in each:
            assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        for field in ("received", "forecasts", "dropped_total", "in_flight"):
            assert sum(getattr(c, field) for c in each) == getattr(total, field)


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
