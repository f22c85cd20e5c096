"""The engine against a plain loop over the model that encodes every frame anew."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import CameraFrame, Forecast, Foresight, ModelOutputError

MS = 1_000_000
START = 10**18
Stream = list[tuple[np.ndarray, int]]


def video(count: int, seed: int = 0) -> list[np.ndarray]:
    """Blobs that move over noise: frames that differ, and differ smoothly."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (60, 400, 3), dtype=np.uint8)
    return [np.ascontiguousarray(noise[:, 2 * i : 2 * i + 100]) for i in range(count)]


def plain(bundle: Bundle, stream: Stream, steps: int) -> list[dict | None]:
    """For each frame: choose the context by trying all combinations, encode it, forecast."""
    results: list[dict | None] = []
    interval = round(bundle.frame_interval_s * 1e9)
    for n in range(1, len(stream) + 1):
        newest = stream[n - 1][1]
        best = None
        for combination in itertools.combinations(range(max(0, n - 24), n), 4):
            if combination[-1] != n - 1:
                continue
            errors = [
                abs(stream[i][1] - (newest - k * interval))
                for k, i in enumerate(reversed(combination))
            ]
            if max(errors) <= 0.45 * interval and (best is None or sum(errors) < best[0]):
                best = (sum(errors), combination)
        results.append(None if best is None else _forecast(bundle, stream, best[1], steps))
    return results


@torch.inference_mode()
def _forecast(bundle: Bundle, stream: Stream, indices: tuple[int, ...], steps: int) -> dict:
    frames = [bundle.encoder.preprocess(stream[i][0][None]) for i in indices]
    z = [bundle.pca.transform(bundle.encoder(frame)) for frame in frames]
    rolled = bundle.forecaster.rollout(torch.stack(z, dim=1), steps)
    features = bundle.pca.inverse(rolled[:, -1])
    decoded: dict = {"features": rolled[0, -1].numpy()}
    for name, head in bundle.heads.items():
        maps = bundle.tasks[name].decode(head(features))
        decoded |= {key: value[0].numpy() for key, value in maps.items()}
    return decoded


def check(forecast: Forecast | None, expected: dict | None) -> None:
    assert (forecast is None) == (expected is None)
    if forecast is None or expected is None:
        return
    last = forecast.steps[-1]
    for name in ("features", "confidence", "normals"):
        np.testing.assert_allclose(getattr(last, name), expected[name], atol=1e-4)
    np.testing.assert_allclose(last.depth, expected["depth"], rtol=1e-4)
    assert np.mean(last.segmentation != expected["segmentation"]) < 1e-3


ALL = frozenset({"segmentation", "confidence", "depth", "normals", "features"})


def streams() -> dict[str, Stream]:
    rng = np.random.default_rng(1)
    steady = [START + round(i * 1e9 / 30) for i in range(26)]
    jittered = [s + int(rng.integers(-9 * MS, 9 * MS)) for s in steady]
    dropped = [s for i, s in enumerate(steady) if i % 3]
    return {
        name: list(zip(video(len(stamps)), stamps, strict=True))
        for name, stamps in {"steady": steady, "jittered": jittered, "dropped": dropped}.items()
    }


@pytest.mark.parametrize("name", ["steady", "jittered", "dropped"])
def test_the_engine_equals_a_plain_loop(bundle: Bundle, name: str):
    stream = streams()[name]
    engine = Foresight(bundle, steps=2, wanted=ALL)
    expected = plain(bundle, stream, steps=2)
    assert any(e is not None for e in expected)
    for (image, stamp), want in zip(stream, expected, strict=True):
        check(engine.update(image, stamp), want)


def test_two_interleaved_cameras_do_not_mix(bundle: Bundle):
    stamps = [START + i * 100 * MS for i in range(9)]
    left = list(zip(video(9, seed=1), stamps, strict=True))
    right = list(zip(video(9, seed=2), [s + 30 * MS for s in stamps], strict=True))
    engine = Foresight(bundle, steps=1, wanted=ALL)
    expected = {"left": plain(bundle, left, 1), "right": plain(bundle, right, 1)}
    for i in range(9):
        for name, stream in (("left", left), ("right", right)):
            check(engine.update(*stream[i], camera=name), expected[name][i])


def test_cameras_in_one_batch_equal_cameras_one_by_one(bundle: Bundle):
    together, alone = (Foresight(bundle, steps=1, wanted=ALL) for _ in range(2))
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


def check_equal(forecast: Forecast, expected: Forecast) -> None:
    """Equal but for the rounding of another batch size."""
    assert forecast.context_stamps_ns == expected.context_stamps_ns
    assert len(forecast.steps) == len(expected.steps)
    for step, want in zip(forecast.steps, expected.steps, strict=True):
        assert step.target_stamp_ns == want.target_stamp_ns
        for name in ("features", "confidence", "normals", "depth", "segmentation"):
            ours, theirs = getattr(step, name), getattr(want, name)
            assert (ours is None) == (theirs is None), name
            if ours is None:
                continue
            assert ours.shape == theirs.shape
            if name == "segmentation":
                assert np.mean(ours != theirs) < 1e-3
            else:
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_looped_recording_restarts_the_context(bundle: Bundle):
    stream = [(f, START + i * 200 * MS) for i, f in enumerate(video(7))]
    engine = Foresight(bundle, steps=1, wanted=ALL)
    first = [engine.update(*frame) for frame in stream]
    second = [engine.update(*frame) for frame in stream]
    assert [f is None for f in second] == [f is None for f in first] == [True] * 3 + [False] * 4
    for a, b in zip(first[3:], second[3:], strict=True):
        np.testing.assert_array_equal(a.steps[0].features, b.steps[0].features)


def fill(engine: Foresight, count: int = 4, start: int = START, seed: int = 0) -> Forecast | None:
    forecast = None
    for i, image in enumerate(video(count, seed)):
        forecast = engine.update(image, start + i * 200 * MS)
    return forecast


def test_stamps_and_horizons_are_counted_in_frame_intervals(bundle: Bundle):
    forecast = fill(Foresight(bundle, steps=3))
    assert forecast.stamp_ns == START + 600 * MS
    assert forecast.context_stamps_ns == tuple(START + i * 200 * MS for i in range(4))
    assert [s.target_stamp_ns for s in forecast.steps] == [
        START + 600 * MS + k * 200 * MS for k in (1, 2, 3)
    ]
    assert [s.horizon_s for s in forecast.steps] == pytest.approx([0.2, 0.4, 0.6])
    assert not forecast.trained


def test_only_wanted_heads_and_steps_run(bundle: Bundle):
    engine = Foresight(bundle, steps=3)
    fill(engine)
    calls: list[str] = []
    for name, head in engine._heads.items():
        head.register_forward_hook(lambda *_, name=name: calls.append(name))
    image = video(1, seed=9)[0]
    forecast = engine.update(
        image, START + 800 * MS, wanted={2: frozenset({"depth"}), 3: frozenset()}
    )
    assert calls == ["depth"]
    assert len(forecast.steps) == 2
    assert forecast.steps[0].depth is None
    assert forecast.steps[1].depth is not None
    assert forecast.steps[1].segmentation is None


@pytest.mark.parametrize("wanted", [frozenset(), {}, {1: frozenset()}])
def test_nothing_wanted_keeps_the_context_and_forecasts_nothing(bundle: Bundle, wanted):
    engine = Foresight(bundle, steps=1)
    passes: list[int] = []
    handle = bundle.forecaster.out.register_forward_hook(lambda *_: passes.append(1))
    try:
        for i, image in enumerate(video(5)):
            assert engine.update(image, START + i * 200 * MS, wanted=wanted) is None
    finally:
        handle.remove()
    assert passes == []
    assert engine.last_drop == "unwanted"
    assert engine.update(video(1)[0], START + 1000 * MS) is not None


def test_the_new_frame_alone_costs_an_encoder_pass(bundle: Bundle):
    engine = Foresight(bundle, steps=1)
    sizes: list[int] = []
    handle = bundle.encoder.register_forward_hook(lambda _m, i, _o: sizes.append(i[0].shape[0]))
    try:
        fill(engine, 6)
        engine.update(video(1)[0], START + 1000 * MS)
    finally:
        handle.remove()
    assert sizes == [1] * 6
    assert engine.last_drop == "duplicate_stamp"


def test_maps_come_in_the_size_asked_for(bundle: Bundle):
    forecast = fill(Foresight(bundle, steps=1, output_size=(61, 93)))
    step = forecast.steps[0]
    assert step.segmentation.shape == step.depth.shape == step.confidence.shape == (61, 93)
    assert step.normals.shape == (61, 93, 3)
    assert (step.segmentation.dtype, step.depth.dtype) == (np.uint8, np.float32)


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


def test_nan_from_the_model_is_an_error_and_the_engine_recovers(fresh_bundle: Bundle):
    bundle = fresh_bundle
    engine = Foresight(bundle, steps=1)
    fill(engine, 3)
    weight = bundle.forecaster.out.bias.data
    kept = weight.clone()
    weight.fill_(float("nan"))
    with pytest.raises(ModelOutputError, match="NaN"):
        engine.update(video(1)[0], START + 600 * MS)
    assert engine.context_state == "0/4 frames"
    weight.copy_(kept)
    assert fill(engine, start=START + 800 * MS) is not None


@pytest.mark.parametrize("task", ["segmentation", "depth", "normals"])
def test_nan_from_a_head_is_an_error(fresh_bundle: Bundle, task: str):
    engine = Foresight(fresh_bundle, steps=1)
    last = engine._heads[task].output[4]
    last.weight.data.fill_(float("nan"))
    with pytest.raises(ModelOutputError, match="NaN"):
        fill(engine)


def test_the_bundle_stays_as_it_was(bundle: Bundle, tmp_path: Path):
    fill(Foresight(bundle, steps=1))
    bundle.save(tmp_path / "b")
    assert Bundle.load(tmp_path / "b").heads.keys() == bundle.heads.keys()


@pytest.mark.parametrize("steps", [0, 17])
def test_steps_out_of_range_are_refused(bundle: Bundle, steps: int):
    with pytest.raises(UsageError, match="from 1 to 16"):
        Foresight(bundle, steps=steps)


def test_unknown_outputs_are_refused_with_the_valid_ones(bundle: Bundle):
    with pytest.raises(UsageError, match=r"\['flow'\].*'depth'"):
        Foresight(bundle, wanted=frozenset({"flow"}))


def test_two_runs_agree_exactly(bundle: Bundle):
    first, second = (fill(Foresight(bundle, steps=2, wanted=ALL)) for _ in range(2))
    for a, b in zip(first.steps, second.steps, strict=True):
        np.testing.assert_array_equal(a.features, b.features)
        np.testing.assert_array_equal(a.depth, b.depth)


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
        batch = {n: CameraFrame(f[i], stamp, wanted[n]) for n, f in frames.items()}
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
            engine.update_cameras({n: CameraFrame(image, stamp, w) for n, w in wanted.items()})
    finally:
        handle.remove()
    assert [shape[0] for shape in sizes] == [1] * 4


def test_one_camera_s_bad_frame_does_not_hurt_the_others(bundle: Bundle):
    engine, alone = (Foresight(bundle, steps=1, wanted=ALL) for _ in range(2))
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
    with torch.inference_mode():
        engine._buffers["b"]._ring.fill_(float("nan"))
    results = engine.update_cameras({n: CameraFrame(image, stamp + 200 * MS) for n in "abc"})
    assert isinstance(results["b"].error, ModelOutputError)
    assert [engine.context_of(n) for n in "abc"] == ["4/4 frames", "0/4 frames", "4/4 frames"]
    assert results["a"].forecast is not None
    assert results["c"].forecast is not None


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
    engine = Foresight(bundle)
    with pytest.raises(UsageError, match="output_size"):
        engine.output_size = size
    assert engine.output_size is None


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
