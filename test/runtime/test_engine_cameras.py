"""The engine with several cameras."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_engine import ALL, MS, START, check, check_equal, plain, video

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import CameraFrame, Foresight, ModelOutputError
from dino_foresight_ros.runtime.request import OutputRequest


@pytest.mark.slow
def test_two_interleaved_cameras_do_not_mix(bundle: Bundle):
    stamps = [START + i * 100 * MS for i in range(9)]
    left = list(zip(video(9, seed=1), stamps, strict=True))
    right = list(zip(video(9, seed=2), [s + 30 * MS for s in stamps], strict=True))
    engine = Foresight(bundle, steps=1, outputs=ALL)
    expected = {"left": plain(bundle, left, 1), "right": plain(bundle, right, 1)}
    for i in range(9):
        for name, stream in (("left", left), ("right", right)):
            check(engine.update(*stream[i], camera=name), expected[name][i])


@pytest.mark.slow
def test_cameras_in_one_batch_equal_cameras_one_by_one(bundle: Bundle):
    together, alone = (Foresight(bundle, steps=1, outputs=ALL) for _ in range(2))
    frames = {name: video(5, seed) for seed, name in enumerate(("a", "b", "c"))}
    frames["c"] = [np.ascontiguousarray(f[:40, :80]) for f in frames["c"]]
    for i in range(5):
        stamp = START + i * 200 * MS
        batch = {n: CameraFrame(f[i], stamp) for n, f in frames.items() if (n, i) != ("b", 4)}
        results = together.update_cameras(batch)
        for name, frame in batch.items():
            single = alone.update(frame.image, stamp, camera=name)
            assert (single is None) == (results[name].forecast is None)
            assert results[name].drop == alone.last_drop
            if single is not None:
                check_equal(results[name].forecast, single)
    assert results.keys() == {"a", "c"}
    assert results["a"].forecast is not None


@pytest.mark.slow
def test_each_camera_of_a_batch_gets_what_its_listeners_want(bundle: Bundle):
    """Other outputs, other numbers of steps, other sizes: as if each were forecast alone."""
    wanted = {
        "a": {1: frozenset({"depth"}), 3: frozenset({"segmentation", "features"})},
        "b": frozenset({"confidence"}),
        "c": {1: frozenset({"normals", "depth"}), 2: frozenset()},
        "d": {},
        "e": frozenset({"features"}),
    }
    together = Foresight(bundle, steps=3, output_size="input")
    frames = {name: video(4, seed) for seed, name in enumerate(wanted)}
    frames["b"] = [np.ascontiguousarray(f[:40, :80]) for f in frames["b"]]
    for i in range(4):
        stamp = START + i * 200 * MS
        batch = {
            n: CameraFrame(f[i], stamp, OutputRequest(wanted[n], "input"))
            for n, f in frames.items()
        }
        results = together.update_cameras(batch)
    assert (results["d"].forecast, results["d"].drop) == (None, "unwanted")
    for name in ("a", "b", "c", "e"):
        alone = Foresight(bundle, steps=3, output_size="input")
        for i in range(4):
            single = alone.update(frames[name][i], START + i * 200 * MS, wanted[name])
        check_equal(results[name].forecast, single)
    assert [len(results[n].forecast.steps) for n in "abce"] == [3, 3, 1, 3]
    assert results["b"].forecast.steps[0].confidence.shape == (40, 80)
    assert results["b"].forecast.steps[0].segmentation is None
    assert results["a"].forecast.steps[0].segmentation is None
    assert results["a"].forecast.steps[1].depth is None


def test_cameras_that_nobody_wants_steps_of_cost_no_rollout(bundle: Bundle):
    engine = Foresight(bundle, steps=3)
    sizes: list[tuple[int, ...]] = []
    handle = bundle.forecaster.out.register_forward_hook(lambda _m, i, _o: sizes.append(i[0].shape))
    wanted = {"a": {3: frozenset({"depth"})}, "b": {1: frozenset({"depth"})}, "c": {}}
    try:
        for i, image in enumerate(video(4)):
            stamp = START + i * 200 * MS
            engine.update_cameras(
                {n: CameraFrame(image, stamp, OutputRequest(w)) for n, w in wanted.items()}
            )
    finally:
        handle.remove()
    assert [shape[0] for shape in sizes] == [1] * 4


@pytest.mark.slow
def test_one_camera_s_bad_frame_does_not_hurt_the_others(bundle: Bundle):
    engine, alone = (Foresight(bundle, steps=1, outputs=ALL) for _ in range(2))
    clips = {n: video(6, seed) for seed, n in enumerate("ab")}
    for i in range(6):
        stamp = START + i * 200 * MS
        frames = {n: CameraFrame(f[i], stamp) for n, f in clips.items()}
        if i == 4:
            frames["b"] = CameraFrame(np.zeros((0, 4, 3), np.uint8), stamp)
        results = engine.update_cameras(frames)
        single = alone.update(clips["a"][i], stamp)
        if i >= 3:
            check_equal(results["a"].forecast, single)
        if i == 4:
            assert "empty" in str(results["b"].error)
            assert (results["b"].forecast, results["b"].arrival) == (None, None)
    # The bad frame left a hole in b's context, no more.
    assert results["b"].drop == "context_filling"
    assert engine.context_of("b") == "3/4 frames"


def test_nan_of_one_camera_leaves_the_others_alone(fresh_bundle: Bundle):
    engine = Foresight(fresh_bundle, steps=1)
    for i, image in enumerate(video(4)):
        stamp = START + i * 200 * MS
        results = engine.update_cameras({n: CameraFrame(image, stamp) for n in "abc"})
    blind = torch.tensor([1.0, float("nan"), 1.0])[:, None, None, None]
    fresh_bundle.encoder.register_forward_hook(lambda module, inputs, out: out * blind)
    results = engine.update_cameras({n: CameraFrame(image, stamp + 200 * MS) for n in "abc"})
    assert isinstance(results["b"].error, ModelOutputError)
    assert [engine.context_of(n) for n in "abc"] == ["4/4 frames", "0/4 frames", "4/4 frames"]
    assert results["a"].forecast is not None
    assert results["c"].forecast is not None
