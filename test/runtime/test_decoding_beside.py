"""Decoding a frame beside the next one's prediction changes when things are computed, not what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from plain_engine import ALL, MS, START, check_equal, video
from scheduler_harness import BesideEngine, Harness

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import CameraFrame, Foresight
from dino_foresight_ros.runtime.frame import Forecast, ModelOutputError
from dino_foresight_ros.runtime.out_of_memory import DeviceMemoryError
from dino_foresight_ros.runtime.predicted import Predicted
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.runtime.scheduler import DECODING_THREAD_NAME, Worker

WISHES = [
    ALL,
    frozenset({"depth"}),
    {1: {"segmentation"}, 2: set(), 3: {"depth", "normals", "confidence"}},
    {0: {"depth", "features"}, 2: ALL},
]


def frames(index: int, wanted: Any = ALL) -> dict[str, CameraFrame]:
    """Two cameras of other sizes and wishes."""
    picture, stamp_ns = video(index + 1)[index], START + 200 * MS * index
    return {
        "left": CameraFrame(picture, stamp_ns, OutputRequest(wanted, "input")),
        "right": CameraFrame(picture[:40], stamp_ns, OutputRequest({1: ALL, 2: {"depth"}})),
    }


@pytest.mark.parametrize("wanted", WISHES)
def test_a_frame_is_forecast_as_it_was_though_later_ones_came(bundle: Bundle, wanted: Any) -> None:
    halves, whole = (Foresight(bundle, steps=3) for _ in range(2))
    waiting: list[Predicted] = []
    for i in range(6):
        waiting.append(halves.predict(frames(i, wanted)))
        expected = whole.update_cameras(frames(i, wanted))
        if i < 3:
            assert not waiting.pop().batches
            continue
        if i == 3:
            at_3 = expected
    found = halves.decode(waiting[0])
    for camera in ("left", "right"):
        assert isinstance(found[camera].forecast, Forecast)
        assert (found[camera].forecast.step_0 is None) == (at_3[camera].forecast.step_0 is None)
        check_equal(found[camera].forecast, at_3[camera].forecast)


def test_memory_that_runs_out_while_decoding_costs_a_frame_and_no_context(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, plain = (Foresight(bundle, steps=2) for _ in range(2))
    for i in range(3):
        engine.predict(frames(i))
        plain.update_cameras(frames(i))
    task = bundle.tasks["segmentation"]
    decode, failures = type(task).decode, [1, 2, 3]

    def failing(self: Any, *arguments: Any) -> Any:
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("out of memory")
        return decode(self, *arguments)

    predicted = engine.predict(frames(3))
    plain.update_cameras(frames(3))
    monkeypatch.setattr(type(task), "decode", failing)
    with pytest.raises(DeviceMemoryError):  # the first try and the second
        engine.decode(predicted)
    found = engine.decode(engine.predict(frames(4)))["left"].forecast  # the second try works
    expected = plain.update_cameras(frames(4))["left"].forecast
    assert found is not None
    assert expected is not None
    check_equal(found, expected)


def test_a_context_that_gives_nan_is_dropped_at_the_next_frame(bundle: Bundle) -> None:
    engine = Foresight(bundle, steps=2)
    for i in range(4):
        predicted = engine.predict(frames(i))
    hook = engine.heads["depth"].register_forward_hook(lambda _, __, out: out * torch.nan)
    assert isinstance(engine.decode(predicted)["left"].error, ModelOutputError)
    hook.remove()
    assert engine.context_of("left") == "4/4 frames"
    engine.predict(frames(4))
    assert engine.context_of("left") == "1/4 frames"


class Beside(Harness):
    """A scheduler that decodes beside, in a worker's thread."""

    def __init__(self) -> None:
        super().__init__(BesideEngine(), decodes_beside=True)
        self.worker = Worker(self.scheduler)
        self.worker.start()

    def predicted(self, stamp_ns: int) -> None:
        """Submit a frame and wait until it is predicted."""
        self.submit("a", stamp_ns)
        assert self.engine.predicted[stamp_ns].wait(20)


@pytest.fixture
def one() -> Iterator[Beside]:
    made = Beside()
    yield made
    made.engine.gate.set()
    assert made.worker.stop(20.0)
    made.check_accounts()
    assert made.counts().in_flight == 0


def test_the_next_frame_is_predicted_meanwhile_and_no_other(one: Beside) -> None:
    one.engine.gate.clear()
    one.predicted(1)
    one.predicted(2)
    assert one.published == []
    for stamp_ns in range(3, 50):
        one.submit("a", stamp_ns)
    assert one.engine.seen == [1, 2]
    one.engine.gate.set()
    assert one.engine.decoded[49].wait(20)
    assert one.worker.stop(20.0)
    assert one.published == [1, 2, 49]
    assert one.engine.threads == {f"{DECODING_THREAD_NAME}_0"}


def test_stop_gives_up_what_is_decoded_and_what_waits_for_it(one: Beside) -> None:
    one.engine.gate.clear()
    one.predicted(1)
    one.predicted(2)
    one.submit("a", 3)
    assert not one.worker.stop(timeout_s=0.01)
    one.engine.gate.set()
    assert one.worker.stop(20.0)
    assert one.published == []
    assert sorted(one.drops) == [(1, "inactive"), (2, "inactive"), (3, "inactive")]
    one.worker.start()
    one.predicted(4)
    assert one.engine.decoded[4].wait(20)


def test_reset_waits_until_all_is_decoded(one: Beside) -> None:
    one.predicted(1)
    one.engine.gate.clear()
    one.predicted(2)
    before = one.engine.resets
    one.scheduler.reset()
    assert one.engine.resets == before
    one.engine.gate.set()
    one.predicted(3)
    assert one.engine.resets == before + 1
    assert one.engine.decoded_at_reset[-1] == [1, 2]


def test_close_ends_the_decoding_thread(one: Beside) -> None:
    one.predicted(1)
    assert one.engine.decoded[1].wait(20)
    (thread,) = one.engine.decoding
    assert one.worker.stop(20.0)
    assert thread.is_alive()
    one.worker.close()
    assert not thread.is_alive()


def test_a_pass_that_outlasts_close_ends_the_threads_itself(one: Beside) -> None:
    one.engine.gate.clear()
    one.predicted(1)
    one.predicted(2)
    assert not one.worker.stop(timeout_s=0.01)
    one.worker.close()
    one.engine.gate.set()
    assert one.worker.stop(20.0)
    (thread,) = one.engine.decoding
    thread.join(20.0)
    assert not thread.is_alive()
    assert one.errors == []


def test_failures_of_either_half_are_named_and_the_next_frame_works(one: Beside) -> None:
    for payload, stamp_ns in [("broken", 1), ("a", -2), ("unpublishable", 3), ("a", 666), ("a", 5)]:
        one.submit(payload, stamp_ns)
        settled = threading.Event()
        for _ in range(2000):
            if one.counts().in_flight == 0:
                break
            settled.wait(0.01)
    assert one.published == [5]
    assert one.errors == [
        ("bad_image", "broken picture"),
        ("error", "negative"),
        ("error", "no publisher"),
        ("error", "cannot be decoded"),
    ]
