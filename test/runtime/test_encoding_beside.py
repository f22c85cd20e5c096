"""Encoding the next frame beside a frame's decoding changes when things are computed, not what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plain_engine import ALL, MS, START, check_equal, video
from scheduler_harness import Harness, ThreadedEngine

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime import CameraFrame, Foresight
from dino_foresight_ros.runtime.encoded import Encoded
from dino_foresight_ros.runtime.frame import CameraResult, ModelOutputError
from dino_foresight_ros.runtime.out_of_memory import DeviceMemoryError
from dino_foresight_ros.runtime.request import OutputRequest

WANTED = [
    ALL,
    frozenset({"depth"}),
    {1: {"segmentation"}, 2: set(), 3: {"depth", "normals", "confidence"}},
    {0: {"depth", "features"}, 2: ALL},
]


def frames(index: int, wanted: Any = ALL) -> dict[str, CameraFrame]:
    """Two cameras of other sizes and requests."""
    picture, stamp_ns = video(index + 1)[index], START + 200 * MS * index
    return {
        "left": CameraFrame(picture, stamp_ns, OutputRequest(wanted, "input")),
        "right": CameraFrame(picture[:40], stamp_ns, OutputRequest({1: ALL, 2: {"depth"}})),
    }


class Ahead:
    """An engine of which the next frames are encoded as soon as it lets that be done."""

    def __init__(self, bundle: Bundle, wanted: Any = ALL, threads: int = 2) -> None:
        self.engine = Foresight(bundle, steps=3, threads=threads)
        self.wanted, self.index = wanted, 0
        self.encoded = self.engine.encode(frames(0, wanted))
        self.ahead: Encoded | None = None
        self.times_ahead = 0

    def _encode_next(self) -> None:
        self.ahead = self.engine.encode(frames(self.index + 1, self.wanted))
        self.times_ahead += 1

    def next(self) -> dict[str, CameraResult]:
        found = self.engine.forecast(self.encoded, self._encode_next)
        self.engine.wait()
        if self.ahead is None:
            self.ahead = self.engine.encode(frames(self.index + 1, self.wanted))
        self.encoded, self.ahead = self.ahead, None
        self.index += 1
        return found


@pytest.mark.slow
@pytest.mark.parametrize("wanted", WANTED)
def test_forecasts_are_those_of_one_frame_after_the_other(bundle: Bundle, wanted: Any) -> None:
    ahead, plain = Ahead(bundle, wanted), Foresight(bundle, steps=3)
    for i in range(6):
        found, expected = ahead.next(), plain.update_cameras(frames(i, wanted))
        for camera in ("left", "right"):
            assert found[camera].drop == expected[camera].drop
            if i >= 3:
                one, other = found[camera].forecast, expected[camera].forecast
                assert one is not None
                assert other is not None
                assert (one.step_0 is None) == (other.step_0 is None)
                check_equal(one, other)
    assert ahead.times_ahead == 3  # of each frame whose heads ran


def test_one_thread_encodes_nothing_ahead(bundle: Bundle) -> None:
    ahead = Ahead(bundle, threads=1)
    for _ in range(5):
        ahead.next()
    assert ahead.times_ahead == 0


@pytest.mark.slow
def test_memory_that_runs_out_while_decoding_costs_a_frame_and_no_context(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, plain = (Foresight(bundle, steps=2) for _ in range(2))
    for i in range(3):
        engine.update_cameras(frames(i))
        plain.update_cameras(frames(i))
    task = bundle.tasks["segmentation"]
    decode, failures = type(task).decode, [1, 2, 3]

    def failing(self: Any, *arguments: Any) -> Any:
        if failures:
            failures.pop()
            raise torch.OutOfMemoryError("out of memory")
        return decode(self, *arguments)

    plain.update_cameras(frames(3))
    monkeypatch.setattr(type(task), "decode", failing)
    with pytest.raises(DeviceMemoryError):  # the first try and the second
        engine.update_cameras(frames(3))
    found = engine.update_cameras(frames(4))["left"].forecast  # the second try works
    expected = plain.update_cameras(frames(4))["left"].forecast
    assert found is not None
    assert expected is not None
    check_equal(found, expected)


def test_a_context_that_gives_nan_is_dropped_with_what_was_encoded_meanwhile(
    bundle: Bundle,
) -> None:
    ahead = Ahead(bundle, {1: ALL, 2: ALL})  # as of the other camera: in one batch
    for _ in range(3):
        ahead.next()
    hook = ahead.engine.heads["depth"].register_forward_hook(lambda _, __, out: out * torch.nan)
    assert isinstance(ahead.next()["left"].error, ModelOutputError)
    hook.remove()
    assert ahead.times_ahead == 1
    assert ahead.engine.context_of("left") == "0/4 frames"
    assert [ahead.next()["left"].drop for _ in range(4)] == [DropReason.CONTEXT_FILLING] * 4
    assert ahead.next()["left"].forecast is not None


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 3])
def test_images_of_several_cameras_are_encoded_in_one_shape(bundle: Bundle, threads: int) -> None:
    ahead, shapes = Ahead(bundle, threads=threads), set()
    hook = bundle.encoder.register_forward_pre_hook(
        lambda _, inputs: shapes.add(tuple(inputs[0].shape))
    )
    for _ in range(6):
        ahead.next()
    hook.remove()
    assert ahead.times_ahead == 3
    assert shapes == {(1, 3, *bundle.image_size)}


@pytest.fixture
def one() -> Harness:
    made = Harness(ThreadedEngine())
    made.scheduler.start()
    made.scheduler.work()
    made.engine.order.clear()
    return made


def meanwhile(one: Harness, *stamps_ns: int, payload: str = "a") -> None:
    """Submit a frame, decode it, and submit others meanwhile."""

    def submit() -> None:
        for stamp_ns in stamps_ns:
            one.submit(payload, stamp_ns)

    one.engine.while_decoding = submit
    one.submit("a", 1)
    one.scheduler.work()


def test_the_newest_frame_that_waits_while_another_is_decoded_is_encoded_then(one: Harness):
    meanwhile(one, *range(2, 50))
    assert one.engine.order == [("encode", 1), ("encode", 49), ("forecast", 1)]
    assert one.published == [1]
    one.submit("a", 50)
    one.scheduler.work()  # what is encoded comes first, and what waits is encoded beside it
    assert one.engine.order[3:] == [("encode", 50), ("forecast", 49)]
    one.settle()
    assert one.published == [1, 49, 50]
    one.check_accounts()


def test_frames_that_are_discarded_are_also_the_one_encoded_ahead(one: Harness):
    meanwhile(one, 2)
    assert one.scheduler.discard(DropReason.DISABLED) == 0  # none waits
    one.submit("a", 3)
    one.settle()
    assert one.drops == [(2, "disabled")]
    assert one.published == [1, 3]
    assert ("reset", 0) not in one.engine.order
    one.check_accounts()


def test_a_frame_that_is_discarded_while_it_is_encoded_ahead_is_not_forecast(one: Harness):
    def submit() -> None:
        one.submit("a", 2)
        one.engine.meanwhile = lambda: one.scheduler.discard(DropReason.DISABLED)

    one.engine.while_decoding = submit
    one.submit("a", 1)
    one.settle()
    assert one.engine.order == [("encode", 1), ("encode", 2), ("forecast", 1)]
    assert one.drops == [(2, "disabled")]
    one.check_accounts()


def test_stop_gives_up_what_was_encoded_ahead(one: Harness):
    meanwhile(one, 2)
    one.scheduler.stop()
    one.scheduler.run()
    assert one.published == [1]
    assert one.drops == [(2, "inactive")]
    assert one.counts().in_flight == 0
    one.scheduler.start()
    one.submit("a", 3)
    one.settle()
    assert one.published == [1, 3]
    one.check_accounts()


def test_stop_while_decoding_gives_up_that_frame_and_the_one_ahead(one: Harness):
    one.engine.while_decoding = lambda: (one.submit("a", 2), one.scheduler.stop())
    one.submit("a", 1)
    one.scheduler.run()
    assert one.published == []
    assert sorted(one.drops) == [(1, "inactive"), (2, "inactive")]
    one.check_accounts()


def test_reset_gives_up_what_was_encoded_with_the_old_context(one: Harness):
    meanwhile(one, 2)
    one.scheduler.reset()
    one.submit("a", 3)
    one.settle()
    assert one.drops == [(2, "reset")]
    assert one.engine.order[3:] == [("reset", 0), ("encode", 3), ("forecast", 3)]
    one.check_accounts()


def test_after_a_reset_nothing_is_encoded_into_the_old_context(one: Harness):
    one.engine.while_decoding = lambda: (one.scheduler.reset(), one.submit("a", 2))
    one.submit("a", 1)
    one.settle()
    assert one.engine.order[:3] == [("encode", 1), ("forecast", 1), ("reset", 0)]
    assert one.published == [1, 2]
    one.check_accounts()


def test_failures_of_what_is_done_ahead_are_named_and_the_next_frame_works(one: Harness):
    meanwhile(one, 2, payload="broken")
    meanwhile(one, -2)
    meanwhile(one, 3, payload="unpublishable")
    one.settle()
    meanwhile(one, 666)
    one.settle()
    one.submit("a", 5)
    one.settle()
    assert one.published == [1, 1, 1, 1, 5]
    assert one.errors == [
        ("bad_image", "broken picture"),
        ("error", "negative"),
        ("error", "no publisher"),
        ("error", "cannot be decoded"),
    ]
    one.check_accounts()
