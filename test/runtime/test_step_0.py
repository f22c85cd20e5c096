"""Step 0, the newest context frame itself, decoded like a predicted one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Bundle, HeadInput, build_head
from dino_foresight_ros.runtime import CameraFrame, Forecast, Foresight, ModelOutputError
from dino_foresight_ros.runtime.request import OutputRequest

MS = 1_000_000
START = 10**18
SEEN = frozenset({"segmentation", "confidence", "depth", "normals", "features"})


def stamps(count: int = 4) -> list[int]:
    return [START + i * 200 * MS for i in range(count)]


def video(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise that moves sideways."""
    noise = np.random.default_rng(seed).integers(0, 256, (60, 400, 3), dtype=np.uint8)
    return [np.ascontiguousarray(noise[:, 2 * i : 2 * i + 100]) for i in range(count)]


def last_of(engine: Foresight, wanted) -> Forecast | None:
    forecast = None
    for image, stamp in zip(video(4), stamps(), strict=True):
        forecast = engine.update(image, stamp, wanted)
    return forecast


@torch.inference_mode()
def analysed(bundle: Bundle, image: np.ndarray) -> dict[str, np.ndarray]:
    """A frame's features and maps by the bundle's parts, one after the other."""
    z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(image[None])))
    found = {"features": z[0].numpy()}
    for name, head in bundle.heads.items():
        maps = bundle.tasks[name].decode(head(bundle.pca.inverse(z)))
        found |= {key: value[0].numpy() for key, value in maps.items()}
    return found


def test_step_0_is_the_newest_frame_seen_through_the_same_heads(bundle: Bundle):
    forecast = last_of(Foresight(bundle, steps=2), {0: SEEN, 2: SEEN})
    assert forecast is not None
    assert forecast.step_0 is not None
    assert (forecast.step_0.step, forecast.step_0.horizon_s) == (0, 0.0)
    assert forecast.step_0.target_stamp_ns == forecast.stamp_ns == stamps()[-1]
    expected = analysed(bundle, video(4)[-1])
    for name in ("features", "confidence", "normals"):
        np.testing.assert_allclose(getattr(forecast.step_0, name), expected[name], atol=1e-4)
    np.testing.assert_allclose(forecast.step_0.depth, expected["depth"], rtol=1e-4)
    assert np.mean(forecast.step_0.segmentation != expected["segmentation"]) < 1e-3
    without = last_of(Foresight(bundle, steps=2), {2: SEEN})
    assert without is not None
    for name in SEEN:
        ours, theirs = getattr(forecast.steps[1], name), getattr(without.steps[1], name)
        np.testing.assert_array_equal(ours, theirs)


def test_without_a_wish_for_it_there_is_none_and_no_head_runs_for_it(bundle: Bundle):
    engine = Foresight(bundle, steps=2)
    frames: list[int] = []
    engine.heads["depth"].register_forward_hook(lambda _, inputs, __: frames.append(len(inputs[0])))
    for wanted in (frozenset({"depth"}), {1: {"depth"}, 2: {"depth"}}, {0: frozenset(), 1: SEEN}):
        frames.clear()
        engine.reset()
        forecast = last_of(engine, wanted)
        assert forecast is not None
        assert forecast.step_0 is None
        assert sum(frames) == len(forecast.steps)


def test_alone_it_costs_no_forward_pass_of_the_forecaster(bundle: Bundle):
    passes: list[int] = []
    handle = bundle.forecaster.out.register_forward_hook(lambda *_: passes.append(1))
    try:
        forecast = last_of(Foresight(bundle, steps=3), {0: frozenset({"depth"})})
    finally:
        handle.remove()
    assert passes == []
    assert forecast is not None
    assert forecast.steps == ()
    assert forecast.step_0 is not None
    assert forecast.step_0.depth is not None
    assert forecast.step_0.segmentation is None


def test_of_several_cameras_each_gets_its_own(bundle: Bundle):
    engine = Foresight(bundle, steps=1)
    wishes = {"a": {0: SEEN, 1: SEEN}, "b": {1: SEEN}, "c": {0: frozenset({"depth"}), 1: SEEN}}
    films = {name: video(4, seed) for seed, name in enumerate(wishes)}
    for index, stamp in enumerate(stamps()):
        results = engine.update_cameras(
            {
                n: CameraFrame(films[n][index], stamp, OutputRequest(wanted))
                for n, wanted in wishes.items()
            }
        )
    forecasts = {name: result.forecast for name, result in results.items()}
    assert forecasts["b"].step_0 is None
    assert forecasts["c"].step_0.features is None
    for name in ("a", "c"):
        expected = analysed(bundle, films[name][-1])
        np.testing.assert_allclose(forecasts[name].step_0.depth, expected["depth"], rtol=1e-4)


def test_an_output_whose_head_reads_the_forecaster_is_refused_of_step_0(fresh_bundle: Bundle):
    config = fresh_bundle.heads["depth"].config
    width = fresh_bundle.forecaster.config.width
    head = build_head(replace(config, kind="linear"), width, 1)
    read = {"depth": HeadInput("forecaster_layers", (1,))}
    layered = replace(fresh_bundle, heads={**fresh_bundle.heads, "depth": head}, inputs=read)
    engine = Foresight(layered, steps=1)
    assert engine.available_of_step_0 == {"segmentation", "confidence", "normals"}
    with pytest.raises(
        UsageError, match=r"\['depth'\] are requested of step 0, but their head reads"
    ):
        last_of(engine, {0: frozenset({"depth", "normals"})})
    forecast = last_of(engine, {0: frozenset({"normals"}), 1: frozenset({"depth"})})
    assert forecast is not None
    assert forecast.step_0 is not None
    assert forecast.step_0.normals is not None


def test_a_head_that_overflows_on_the_seen_frame_is_noticed(fresh_bundle: Bundle):
    engine = Foresight(fresh_bundle, steps=1)
    engine.heads["normals"].register_forward_hook(lambda m, i, out: out * float("nan"))
    with pytest.raises(ModelOutputError, match="NaN"):
        last_of(engine, {0: frozenset({"normals"}), 1: frozenset({"depth"})})
