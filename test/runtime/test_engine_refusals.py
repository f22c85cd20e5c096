"""What the engine refuses, and says."""

from __future__ import annotations

import numpy as np
import pytest
from plain_engine import MS, START, fill, video

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.runtime.request import OutputRequest


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        None,
    ],
)
def test_a_bad_image_is_refused_and_the_context_kept(bundle: Bundle, image):
    engine = Foresight(bundle, steps=1)
    fill(engine)
    with pytest.raises(InputError, match="image"):
        engine.update(image, START + 800 * MS)
    assert engine.update(video(1)[0], START + 800 * MS) is not None


@pytest.mark.parametrize("steps", [0, 17])
def test_steps_out_of_range_are_refused(bundle: Bundle, steps: int):
    with pytest.raises(UsageError, match="from 1 to 16"):
        Foresight(bundle, steps=steps)


def test_unknown_outputs_are_refused_with_the_valid_ones(bundle: Bundle):
    with pytest.raises(UsageError, match=r"\['flow'\].*'depth'"):
        Foresight(bundle, outputs=frozenset({"flow"}))


@pytest.mark.parametrize("stamp", [0.5, float("nan"), "1", None, np.float64(3)])
def test_stamps_that_are_no_whole_numbers_are_refused(bundle: Bundle, stamp):
    engine = Foresight(bundle)
    with pytest.raises(InputError, match="whole number of nanoseconds"):
        engine.update(video(1)[0], stamp)
    assert engine.update(video(1)[0], np.int64(START)) is None
    assert engine.last_drop == "context_filling"


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5), (5,), (5.0, 5), 5, "grid", (5, 10**6)])
def test_impossible_output_sizes_are_refused(bundle: Bundle, size):
    with pytest.raises(UsageError, match=r"output_size is .*\(height, width\)"):
        Foresight(bundle, output_size=size)
    with pytest.raises(UsageError, match="output_size"):
        OutputRequest(frozenset(), size)


@pytest.mark.parametrize("steps", [2.5, float("nan"), 2.0, "2", None])
def test_steps_that_are_no_whole_numbers_are_refused(bundle: Bundle, steps):
    with pytest.raises(UsageError, match="whole number from 1 to 16"):
        Foresight(bundle, steps=steps)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({4: frozenset({"depth"})}, "step 4; the engine forecasts 3"),
        ({1.5: frozenset({"depth"})}, "step 1.5; steps count from 1"),
        ({-1: frozenset()}, "step -1; steps count from 1"),
        ("depth", "give a set"),
    ],
)
def test_wanted_steps_that_are_not_forecast_are_refused(bundle: Bundle, wanted, reason: str):
    engine = Foresight(bundle, steps=3)
    with pytest.raises(UsageError, match=reason):
        engine.update(video(1)[0], START, wanted)
    assert engine.context_state == "0/4 frames"
    engine.update(video(1)[0], START, {4: frozenset(), 1: frozenset({"depth"})})


def test_reasons_are_named(bundle: Bundle):
    engine = Foresight(bundle, steps=1)
    image = video(1)[0]
    engine.update(image, START)
    assert engine.last_drop == "context_filling"
    assert engine.context_state == "1/4 frames"
    engine.update(image, START)
    assert engine.last_drop == "duplicate_stamp"
    engine.update(image, START - 5 * MS)
    assert engine.last_drop == "out_of_order"
