"""Contexts of the newest frames, and engines asked for any instants."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.process.memory import resident_mb
from dino_foresight_ros.runtime import Arrival, ContextBuffer, Foresight, RecentContext
from dino_foresight_ros.runtime.frame import CameraFrame
from dino_foresight_ros.runtime.request import OutputRequest

MS = 1_000_000
NOW = 1_790_000_000_123_456_789


@pytest.fixture(scope="module")
def world(bundle: Bundle) -> Bundle:
    torch.manual_seed(0)
    config = WorldConfig(
        channels=30, width=24, layers=2, heads=2, rope=(4, 4, 4), context_frames=3, query="learned"
    )
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    return replace(bundle, forecaster=forecaster)


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 255, (count, 48, 64, 3), dtype=np.uint8))


def memory(stamp: int) -> tuple[torch.Tensor]:
    return (torch.full((1, 1, 1), float(stamp), dtype=torch.float64),)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    gaps_ms=st.lists(st.integers(1, 900), min_size=1, max_size=30),
    frames=st.integers(2, 16),
    age_ms=st.integers(1, 3000),
)
def test_without_a_spacing_the_context_is_the_last_frames(
    gaps_ms: list[int], frames: int, age_ms: int
):
    buffer = ContextBuffer(RecentContext(frames, 0, age_ms * MS))
    stamps = [0]
    buffer.push(0, memory(0))
    for gap in gaps_ms:
        stamps.append(stamps[-1] + gap * MS)
        buffer.push(stamps[-1], memory(stamps[-1]))
        expected = [s for s in stamps if stamps[-1] - s <= age_ms * MS][-frames:]
        assert len(buffer) <= frames
        assert buffer.filled() == len(expected)
        if len(expected) < 2:
            assert buffer.context_stamps() is None
        else:
            assert list(buffer.context_stamps() or ()) == expected
            (values,) = buffer.context() or ()
            assert values.flatten().tolist() == expected


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    gaps_ms=st.lists(st.integers(1, 400), min_size=4, max_size=60),
    frames=st.integers(2, 8),
    spacing_ms=st.integers(1, 300),
)
def test_context_frames_keep_their_least_spacing_and_miss_no_more_than_half_of_it(
    gaps_ms: list[int], frames: int, spacing_ms: int
):
    rule = RecentContext(frames, spacing_ms * MS, 10_000 * MS)
    buffer = ContextBuffer(rule)
    stamps = [0]
    buffer.push(0, memory(0))
    for gap in gaps_ms:
        stamps.append(stamps[-1] + gap * MS)
        buffer.push(stamps[-1], memory(stamps[-1]))
        chosen = list(buffer.context_stamps() or ())
        for older, newer in pairwise(chosen):
            assert newer - older >= spacing_ms * MS
            # The best that all frames together offer, and what the ring has of it.
            best = max(s for s in stamps if newer - s >= spacing_ms * MS)
            assert best - older <= spacing_ms * MS // 2
        sparse = stamps[-1:]  # of all frames, those that the ring cannot miss
        for stamp in reversed(stamps):
            if sparse[-1] - stamp >= 1.5 * spacing_ms * MS:
                sparse.append(stamp)
        assert len(chosen) >= min(frames, len(sparse)) or len(sparse) == 1
    assert len(buffer) <= 3 * frames


def test_a_model_slower_than_its_camera_encodes_old_frames_only_to_begin():
    rule = RecentContext(4, 100 * MS, 2000 * MS)
    waiting = [0, 33 * MS, 66 * MS, 99 * MS, 133 * MS]
    assert rule.needed(166 * MS, waiting, []) == [2]
    assert rule.needed(166 * MS, [], []) == []
    assert rule.needed(500 * MS, [300 * MS, 400 * MS], [0]) == []
    assert rule.needed(5000 * MS, [4500 * MS, 4950 * MS], [0]) == [0]


@pytest.mark.parametrize(("rate_hz", "jitter"), [(4.0, 0.0), (7.3, 0.4), (30.0, 0.05), (1.0, 0.0)])
def test_every_frame_of_any_camera_is_forecast(world: Bundle, rate_hz: float, jitter: float):
    rng = np.random.default_rng(1)
    offsets = rng.uniform(-jitter / 2, jitter / 2, 6)
    stamps = [NOW + round((i + offsets[i]) / rate_hz * 1e9) for i in range(6)]
    engine = Foresight(world, outputs=frozenset({"features"}), horizons_s=[0.05, 0.33, 2.0])
    images = pictures(6)
    forecasts = [engine.update(*one) for one in zip(images, stamps, strict=True)]
    assert forecasts[0] is None
    assert engine.last_drop is None
    for number, forecast in enumerate(forecasts[1:], 1):
        assert forecast is not None
        context = stamps[max(0, number - 2) : number + 1]
        assert forecast.context_stamps_ns == tuple(context)
        horizons = [50 * MS, 330 * MS, 2000 * MS]
        assert [s.stamp_ns - stamps[number] for s in forecast.steps] == horizons
        assert [s.horizon_s for s in forecast.steps] == [0.05, 0.33, 2.0]
    with torch.inference_mode():  # the last one, computed anew
        newest = np.stack(images[-3:])
        z = world.pca.transform(world.encoder(world.encoder.preprocess(newest)))[None]
        past_s = torch.tensor([[(s - stamps[-1]) / 1e9 for s in stamps[-3:]]], dtype=torch.float64)
        kept = world.forecaster.remember(z, past_s)
        expected = world.forecaster.forecast(kept, past_s, [0.05, 0.33, 2.0])[0, 0]
    last = forecasts[-1]
    assert last is not None
    for step, features in zip(last.steps, expected, strict=True):
        np.testing.assert_allclose(step.features, features, rtol=1e-4, atol=1e-4)


def test_horizons_are_chosen_at_each_frame(world: Bundle):
    engine = Foresight(world, outputs=frozenset({"depth"}), steps=2)
    first, second, third = pictures(3)
    engine.update(first, NOW)
    usual = engine.update(second, NOW + 150 * MS)
    other = engine.update(third, NOW + 300 * MS, ahead_s=[0.01, 0.02, 1.5])
    assert usual is not None
    assert other is not None
    interval = round(world.frame_interval_s * 1e9)
    assert [s.stamp_ns - NOW - 150 * MS for s in usual.steps] == [interval, 2 * interval]
    assert [s.stamp_ns - NOW - 300 * MS for s in other.steps] == [10 * MS, 20 * MS, 1500 * MS]
    assert all(step.depth is not None for step in other.steps)


def test_a_frame_after_too_long_a_pause_begins_anew(world: Bundle):
    age_s = world.forecaster.max_context_age_s
    engine = Foresight(world, steps=1)
    first, second, third = pictures(3)
    assert engine.update(first, NOW) is None
    assert engine.update(second, NOW + round((age_s + 0.001) * 1e9)) is None
    assert engine.last_drop == "context_filling"
    assert engine.update(third, NOW + round((age_s + 0.101) * 1e9)) is not None


def test_cameras_whose_contexts_differ_in_length_go_in_batches_of_their_own(world: Bundle):
    engine = Foresight(world, steps=1, outputs=frozenset({"features"}), cameras=2)
    images = pictures(3)
    engine.update(images[0], NOW, camera="left")
    engine.update(images[1], NOW + 100 * MS, camera="left")
    engine.update(images[0], NOW + 100 * MS, camera="right")
    frame = CameraFrame(images[2], NOW + 200 * MS)
    results = engine.update_cameras({"left": frame, "right": frame})
    lengths = {name: len(r.forecast.context_stamps_ns) for name, r in results.items() if r.forecast}
    assert lengths == {"left": 3, "right": 2}


@pytest.mark.parametrize(
    ("ahead_s", "reason"),
    [
        ([], "0 horizons"),
        ([0.0, 0.2], "0, 0.2 s are not all above 0"),
        ([-0.2], "above 0"),
        ([0.2, 10.5], "up to 10 s"),
        ([float("nan")], "above 0"),
        ([0.4, 0.2], "must rise"),
        ([0.2, 0.2], "must rise"),
        ([0.01 * k for k in range(1, 18)], "17 horizons"),
    ],
)
def test_horizons_that_cannot_be_are_refused(world: Bundle, ahead_s: list[float], reason: str):
    with pytest.raises(UsageError, match=reason):
        Foresight(world, horizons_s=ahead_s)
    engine = Foresight(world)
    with pytest.raises(UsageError, match=reason):
        engine.update(pictures(1)[0], NOW, ahead_s=ahead_s)
    assert engine.context_state == "0/3 frames"


def test_a_masked_bundle_says_which_instants_it_has(bundle: Bundle):
    with pytest.raises(UsageError, match=r"horizons 0\.3 s .* has 0\.2, 0\.4, \.\.\. 3\.2 s"):
        Foresight(bundle, horizons_s=[0.3])
    assert Foresight(bundle, horizons_s=[0.2, 0.6]).steps == 2


def test_memory_is_taken_once_and_known(world: Bundle):
    engine = Foresight(world, steps=1)
    sizes = []
    for number, image in enumerate(pictures(8)):
        engine.update(image, NOW + number * 33 * MS)
        sizes.append(engine.memory_bytes)
    height, width = world.grid
    values = height * width * (30 + 2 * 2 * 24)  # features, and keys and values of two blocks
    assert set(sizes) == {3 * values * 4}


@pytest.fixture(scope="module")
def drawing(world: Bundle) -> Bundle:
    """Draws several futures, which differ much."""
    config = replace(world.forecaster.config, query="noise", noise_std=3.0)
    torch.manual_seed(0)
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    return replace(world, forecaster=forecaster)


@pytest.mark.parametrize("asked", [{"depth"}, {"segmentation", "depth"}, {"spread"}])
def test_single_futures_are_given_where_nobody_asks_for_confidence(
    drawing: Bundle, asked: set[str]
):
    engine = Foresight(drawing, horizons_s=[0.1, 0.5], samples=3)
    request = OutputRequest(frozenset(asked), samples=3, sample_outputs=frozenset({"depth"}))
    for number, image in enumerate(pictures(2)):
        frame = CameraFrame(image, NOW + number * 100 * MS, request)
        result = engine.update_cameras({"": frame})[""]
    assert result.forecast is not None
    for step in result.forecast.steps:
        assert len(step.samples) == 3
        assert all(sample.depth is not None for sample in step.samples)
        assert step.confidence is None
        assert all(getattr(step, name) is not None for name in asked)


def test_several_futures_give_a_mean_a_spread_and_agreement(drawing: Bundle):
    bundle, images = drawing, pictures(2)
    outputs = frozenset({"segmentation", "confidence", "features", "spread", "depth"})
    engine = Foresight(bundle, outputs=outputs, horizons_s=[0.1, 0.5], samples=4)
    request = OutputRequest(outputs, samples=4, sample_outputs=frozenset({"segmentation", "depth"}))
    engine.update(images[0], NOW)
    result = engine.update_cameras({"": CameraFrame(images[1], NOW + 100 * MS, request)})[""]
    assert result.forecast is not None
    past_s = torch.tensor([[-0.1, 0.0]], dtype=torch.float64)
    with torch.inference_mode():
        z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(np.stack(images))))
        kept = bundle.forecaster.remember(z[None], past_s)
        futures = bundle.forecaster.forecast(kept, past_s, [0.1, 0.5], samples=4)[0]
    for number, step in enumerate(result.forecast.steps):
        of_step = futures[:, number]
        np.testing.assert_allclose(step.features, of_step.mean(0), rtol=1e-4, atol=1e-4)
        spread = of_step.numpy().astype(np.float64).std(axis=0)
        spread = np.sqrt((spread**2).mean(axis=-1))
        centres = step.spread[3::8, 3::8] + step.spread[4::8, 4::8]  # around each patch's centre
        np.testing.assert_allclose(centres / 2, spread, rtol=0.1)
        assert len(step.samples) == 4
        each = np.stack([sample.segmentation for sample in step.samples])
        agree = (each == step.segmentation).mean(axis=0)
        np.testing.assert_allclose(step.confidence, agree, atol=1e-6)
        assert 0.0 < agree.mean() < 1.0
        depths = np.stack([sample.depth for sample in step.samples])
        assert depths.shape[1:] == step.depth.shape
        assert all(sample.stamp_ns == step.stamp_ns for sample in step.samples)
    plain = Foresight(bundle, outputs=frozenset({"confidence"}), horizons_s=[0.1, 0.5], samples=4)
    plain.update(images[0], NOW)
    other = plain.update(images[1], NOW + 100 * MS)
    assert other is not None
    for step, same in zip(result.forecast.steps, other.steps, strict=True):
        np.testing.assert_array_equal(step.confidence, same.confidence)
        assert same.segmentation is None
        assert all(sample.segmentation is None for sample in same.samples)


@pytest.mark.parametrize("samples", [0, -1, 65, 1.5])
def test_samples_out_of_range_are_refused(drawing: Bundle, samples: int):
    with pytest.raises(UsageError, match="draws 1 to 64"):
        Foresight(drawing, samples=samples)


def test_samples_of_a_model_of_one_future_are_refused(world: Bundle, bundle: Bundle):
    for one in (world, bundle):
        with pytest.raises(UsageError, match="micro forecasts one future"):
            Foresight(one, samples=2)
        assert "spread" not in Foresight(one).available


def test_equal_stamps_are_dropped(world: Bundle):
    engine = Foresight(world, steps=1)
    image = pictures(1)[0]
    engine.update(image, NOW)
    assert engine.update(image, NOW) is None
    assert engine.last_drop == Arrival.DUPLICATE.value


@pytest.mark.parametrize(
    "arguments", [(0, 0, 1), (1, 0, 1), (3, -1, 1), (3, 0, 0)], ids=["none", "one", "past", "age"]
)
def test_a_rule_that_cannot_be_is_refused(arguments: tuple[int, int, int]):
    with pytest.raises(ValueError, match="context"):
        RecentContext(*arguments)


def test_only_a_camera_slower_than_the_greatest_age_has_a_rate_problem():
    rule = RecentContext(4, 0, 4000 * MS)
    assert rule.rate_problem(4000 * MS) is None
    assert rule.rate_problem(8000 * MS) == (
        "0.125 frames/s come, the model needs 0.25 or more (2 frames within 4 s): no forecast can "
        "be made"
    )


@pytest.mark.long
def test_ten_thousand_updates_take_no_more_memory(drawing: Bundle):
    engine = Foresight(drawing, horizons_s=[0.1, 0.4, 1.0], samples=4, cameras=1)
    images, rng = pictures(4), np.random.default_rng(2)
    stamp, before_mb = NOW, 0.0
    for number in range(10_500):
        stamp += int(rng.integers(10, 400)) * MS
        ahead_s = [0.1, 0.4, 1.0] if number % 2 else [0.05 + 0.01 * (number % 40), 1.5]
        engine.update(images[number % 4], stamp, ahead_s=ahead_s)
        if number == 500:
            before_mb = resident_mb()
    assert resident_mb() - before_mb < 20.0
