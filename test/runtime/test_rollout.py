"""Decoding beside the forecaster changes when things are computed, not what."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from plain_engine import ALL, MS, START, check_equal, video

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.runtime import CameraFrame, Foresight
from dino_foresight_ros.runtime.out_of_memory import DeviceMemoryError
from dino_foresight_ros.runtime.request import OutputRequest

WISHES = [
    ALL,
    frozenset({"depth"}),
    frozenset({"features"}),
    {1: {"segmentation"}, 2: set(), 3: {"depth", "normals", "confidence"}},
    {0: {"depth", "features"}, 2: ALL},
    {0: {"normals"}},
]


def forecasts_of(engine: Foresight, wanted: Any = None) -> list[Any]:
    return [
        engine.update(picture, START + 200 * MS * i, wanted) for i, picture in enumerate(video(5))
    ]


@pytest.mark.parametrize("wanted", WISHES)
def test_forecasts_are_the_same(bundle: Bundle, wanted: Any) -> None:
    ours = forecasts_of(Foresight(bundle, steps=3, overlap_decoding=True), wanted)
    theirs = forecasts_of(Foresight(bundle, steps=3), wanted)
    assert ours[-1] is not None
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is None:
            continue
        assert len(mine.steps) == len(other.steps)
        assert (mine.step_0 is None) == (other.step_0 is None)
        steps = [*zip(mine.steps, other.steps, strict=True)]
        if mine.step_0 is not None:
            steps.append((mine.step_0, other.step_0))
        for a, b in steps:
            for name in ALL:
                assert (getattr(a, name) is None) == (getattr(b, name) is None), name
                if getattr(a, name) is not None and name != "segmentation":
                    np.testing.assert_allclose(
                        getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-5
                    )
            if a.segmentation is not None:
                assert np.mean(a.segmentation != b.segmentation) < 1e-3


def test_cameras_of_other_wishes_and_sizes_share_a_batch(bundle: Bundle) -> None:
    engines = [Foresight(bundle, 2, overlap_decoding=lane) for lane in (True, False)]
    for i, picture in enumerate(video(4)):
        frames = {
            "left": CameraFrame(
                picture, START + 200 * MS * i, OutputRequest(frozenset({"depth"}), "input")
            ),
            "right": CameraFrame(
                picture[:40], START + 200 * MS * i, OutputRequest({1: ALL, 2: {"normals"}}, "input")
            ),
        }
        ours, theirs = (engine.update_cameras(frames) for engine in engines)
    for camera in ("left", "right"):
        assert ours[camera].forecast is not None
        check_equal(ours[camera].forecast, theirs[camera].forecast)


@pytest.mark.parametrize(
    ("other", "here_too"),
    [("normals", ["segmentation"]), ("depth", ["segmentation", "depth"])],
    ids=["alone", "beside"],
)
def test_steps_are_decoded_in_another_thread_and_the_last_one_in_both(
    bundle: Bundle, other: str, here_too: list[str]
) -> None:
    """Depth stays beside segmentation, which tells where the sky is: neither runs twice."""
    engine = Foresight(bundle, steps=3, outputs={"segmentation", other}, overlap_decoding=True)
    here = threading.get_ident()
    seen: list[tuple[str, bool]] = []
    for name, head in engine.heads.items():
        head.register_forward_hook(
            lambda *_, name=name: seen.append((name, threading.get_ident() == here))
        )
    assert forecasts_of(engine)[-1] is not None
    assert len(seen) == 2 * 2 * 3  # two forecasts, two heads, three steps
    # Beside what is its part of the last step, this thread may take what the other has not begun.
    assert {name for name, is_here in seen if is_here} >= set(here_too)
    assert not all(is_here for _, is_here in seen)


def test_all_steps_that_come_at_once_are_decoded_in_both_threads(bundle: Bundle) -> None:
    torch.manual_seed(0)
    config = WorldConfig(30, width=24, layers=2, heads=2, rope=(4, 4, 4), context_frames=3)
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    bundle = replace(bundle, forecaster=forecaster)
    engine = Foresight(bundle, steps=3, outputs={"depth"}, overlap_decoding=True)
    assert forecasts_of(engine)[-1] is not None
    here, has_taken_two = threading.get_ident(), threading.Event()
    taken: list[int] = []

    def wait_for_the_other(*_: Any) -> None:
        if threading.get_ident() != here:
            assert has_taken_two.wait(20)
            return
        taken.append(1)
        if len(taken) == 2:
            has_taken_two.set()

    engine.heads["depth"].register_forward_hook(wait_for_the_other)
    assert engine.update(video(1)[0], START + 1000 * MS) is not None
    assert len(taken) == 2


def test_a_failure_in_the_other_thread_is_the_forecasts_own(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Foresight(bundle, steps=2, overlap_decoding=True)
    expected = forecasts_of(engine)[-1]
    engine.reset()
    task = bundle.tasks["segmentation"]
    decode, failures = type(task).decode, [1, 2]

    def failing(self: Any, *arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread() and failures:
            failures.pop()
            raise torch.OutOfMemoryError("out of memory")
        return decode(self, *arguments)

    monkeypatch.setattr(type(task), "decode", failing)
    pictures = video(5)
    for i, picture in enumerate(pictures[:3]):
        engine.update(picture, START + 200 * MS * i)
    with pytest.raises(DeviceMemoryError):  # the first try and the second
        engine.update(pictures[3], START + 600 * MS)
    forecast = engine.update(pictures[4], START + 800 * MS)
    assert forecast is not None
    check_equal(forecast, expected)


def test_it_is_refused_where_nothing_would_run_beside(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="overlap_decoding takes no acceleration"):
        Foresight(bundle, acceleration="compile", overlap_decoding=True)
