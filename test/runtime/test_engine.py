"""The engine against a plain loop over the model that encodes every frame anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain_engine import ALL, MS, START, check, fill, plain, streams, video

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Foresight, ModelOutputError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["steady", "jittered", "dropped"])
def test_the_engine_equals_a_plain_loop(bundle: Bundle, name: str):
    stream = streams()[name]
    engine = Foresight(bundle, steps=2, outputs=ALL)
    expected = plain(bundle, stream, steps=2)
    assert any(e is not None for e in expected)
    for (image, stamp), want in zip(stream, expected, strict=True):
        check(engine.update(image, stamp), want)


def test_a_looped_recording_restarts_the_context(bundle: Bundle):
    stream = [(f, START + i * 200 * MS) for i, f in enumerate(video(7))]
    engine = Foresight(bundle, steps=1, outputs=ALL)
    first = [engine.update(*frame) for frame in stream]
    second = [engine.update(*frame) for frame in stream]
    assert [f is None for f in second] == [f is None for f in first] == [True] * 3 + [False] * 4
    for a, b in zip(first[3:], second[3:], strict=True):
        np.testing.assert_array_equal(a.steps[0].features, b.steps[0].features)


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
    for name, head in engine.heads.items():
        head.register_forward_hook(lambda *_, name=name: calls.append(name))
    image = video(1, seed=9)[0]
    forecast = engine.update(
        image, START + 800 * MS, outputs={2: frozenset({"normals"}), 3: frozenset()}
    )
    assert calls == ["normals"]
    assert len(forecast.steps) == 2
    assert forecast.steps[0].normals is None
    assert forecast.steps[1].normals is not None
    assert forecast.steps[1].segmentation is None


@pytest.mark.slow
def test_metric_depth_alone_has_no_sky_either(bundle: Bundle):
    image = video(1, seed=9)[0]
    task = bundle.tasks["segmentation"]

    def forecast_of(outputs: set[str], sky: int | None = None):
        names = tuple("sky" if i == sky else f"class {i}" for i in range(len(task.class_names)))
        tasks = {**bundle.tasks, "segmentation": replace(task, class_names=names)}
        engine = Foresight(replace(bundle, tasks=tasks), steps=1)
        fill(engine)
        return engine.update(image, START + 800 * MS, {1: frozenset(outputs)}).steps[0]

    plain = forecast_of({"depth", "segmentation"})
    assert np.isfinite(plain.depth).all()
    ids, counts = np.unique(plain.segmentation, return_counts=True)
    usual = int(ids[counts.argmax()])
    both = forecast_of({"depth", "segmentation"}, usual)
    alone = forecast_of({"depth"}, usual)
    sky = both.segmentation == usual
    assert np.isnan(both.depth[sky]).all()
    assert np.isfinite(both.depth[~sky]).any()
    assert alone.segmentation is None
    np.testing.assert_array_equal(alone.depth, both.depth)


@pytest.mark.parametrize("wanted", [frozenset(), {}, {1: frozenset()}])
def test_nothing_wanted_keeps_the_context_and_forecasts_nothing(bundle: Bundle, wanted):
    engine = Foresight(bundle, steps=1)
    passes: list[int] = []
    handle = bundle.forecaster.out.register_forward_hook(lambda *_: passes.append(1))
    try:
        for i, image in enumerate(video(5)):
            assert engine.update(image, START + i * 200 * MS, outputs=wanted) is None
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
    last = engine.heads[task].output[4]
    last.weight.data.fill_(float("nan"))
    with pytest.raises(ModelOutputError, match="NaN"):
        fill(engine)


@pytest.mark.slow
def test_the_bundle_stays_as_it_was(bundle: Bundle, tmp_path: Path):
    fill(Foresight(bundle, steps=1))
    bundle.save(tmp_path / "b")
    assert Bundle.load(tmp_path / "b").heads.keys() == bundle.heads.keys()


def test_two_runs_agree_exactly(bundle: Bundle):
    first, second = (fill(Foresight(bundle, steps=2, outputs=ALL)) for _ in range(2))
    for a, b in zip(first.steps, second.steps, strict=True):
        np.testing.assert_array_equal(a.features, b.features)
        np.testing.assert_array_equal(a.depth, b.depth)
