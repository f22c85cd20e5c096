"""The world forecaster against golden numbers, and against a plain computation of everything."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_bundle import make_micro_bundle
from random_world import random_world
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle, Forecaster, Prediction
from dino_foresight_ros.model.forecasters import (
    WorldConfig,
    WorldForecaster,
    build_forecaster,
    cross_attention,
)
from dino_foresight_ros.model.forecasters.autoregressive import append
from dino_foresight_ros.model.reference.world_tensors import world_from_reference
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.runtime.threads import Threads

GRID = (3, 5)
TODAY_S = 1_790_000_000.0


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, Tensor]:
    return load_file(golden_dir / "world" / "world_golden.safetensors")


@pytest.fixture(scope="module")
def reference(golden_dir: Path) -> WorldForecaster:
    tensors = load_file(golden_dir / "world" / "world_weights.safetensors")
    config, weights = world_from_reference(tensors, heads=2, rope=(8, 6, 6))
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.load_state_dict(weights)
    return forecaster


@pytest.fixture(scope="module")
def drawing(reference: WorldForecaster) -> WorldForecaster:
    """The same weights with noise for the learned query."""
    weights = reference.state_dict()
    del weights["query"]
    config = WorldConfig.from_dict(reference.to_dict() | {"query": "noise"})
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.load_state_dict(weights)
    return forecaster


def made(seed: int = 0, **changes: object) -> WorldForecaster:
    return random_world(0.5, seed, **({"context_frames": 3} | changes))


def test_a_twin_for_forecasts_gives_the_same_and_leaves_the_weights(
    reference: WorldForecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: x.clone() for name, x in reference.state_dict().items()}
    z = torch.randn(2, 3, *GRID, reference.channels, generator=torch.Generator().manual_seed(0))
    stamps_s = torch.tensor([[0.0, 0.2, 0.5], [0.1, 0.3, 0.35]], dtype=torch.float64)
    expected = reference.forecast(reference.remember(z, stamps_s), stamps_s, [0.1, 0.7])
    twin = reference.for_forecasts()
    monkeypatch.setattr(cross_attention, "halves_first", lambda *_: pytest.fail("at a forecast"))
    assert torch.equal(twin.forecast(twin.remember(z, stamps_s), stamps_s, [0.1, 0.7]), expected)
    assert all(torch.equal(x, before[name]) for name, x in reference.state_dict().items())
    assert not reference.blocks[0].attend.is_ordered


@pytest.mark.parametrize("changes", [{}, {"hindcast": True}, {"feed_back_beyond_s": 0.6}])
@pytest.mark.parametrize("layers", [(), (1,)])
def test_threads_that_share_horizons_change_nothing(
    changes: dict[str, object], layers: tuple[int, ...]
) -> None:
    forecaster = made(motion="blocks", **changes)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 3, *GRID, forecaster.channels, generator=generator)
    stamps_s = torch.tensor([[0.0, 0.2, 0.5], [0.1, 0.3, 0.35]], dtype=torch.float64)
    ahead_s = [0.1, 0.3, 0.7, 0.8, 1.3]
    motion = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    asked = forecaster.remember(z, stamps_s), stamps_s, ahead_s, motion, 1, layers

    def forecast(one: Forecaster) -> Prediction:
        return Prediction.join(one.stream(*asked))

    expected = forecast(forecaster)
    for count in (2, 3, 8):
        found = forecast(forecaster.with_threads(Threads(count)))
        torch.testing.assert_close(found.z, expected.z, rtol=1e-4, atol=1e-4)
        for layer in layers:
            read, known = found.hidden[layer], expected.hidden[layer]
            torch.testing.assert_close(read, known, rtol=1e-4, atol=1e-4)


def taken(memories: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    return tuple(m[:, :count] for m in memories)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_each_frame_is_predicted_from_those_before_it(
    reference: WorldForecaster, golden: dict[str, Tensor]
):
    z, stamps_s = golden["features"], golden["timestamps_s"].double()
    found = reference.predict_clip(z, stamps_s)[:, :, 0]
    close(found, golden["train_prediction"])
    loss = functional.smooth_l1_loss(found, z[:, 1:], beta=0.1)
    close(loss, golden["train_loss"][0])


def test_a_frame_is_asked_for_directly_or_of_a_prediction(
    reference: WorldForecaster, golden: dict[str, Tensor]
):
    z, stamps_s = golden["features"], golden["timestamps_s"].double()
    memories = taken(reference.remember(z, stamps_s), 4)
    past, ahead = stamps_s[:, :4], stamps_s[:, 4:] - stamps_s[:, 3:4]
    direct = reference.predict(memories, past, ahead).z[:, 0]
    close(direct[:, 1], golden["direct_frame5"])
    close(direct[:, 0], golden["rollout"][:, 0])
    fed = reference.remember(direct[:, :1], stamps_s[:, 4:5])
    memories = tuple(torch.cat(pair, dim=1) for pair in zip(memories, fed, strict=True))
    second = reference.predict(memories, stamps_s[:, :5], (ahead[:, 1:] - ahead[:, :1])).z
    close(second[:, 0, 0], golden["rollout"][:, 1])


def test_samples_come_of_noise_queries_and_are_fed_back_each(
    drawing: WorldForecaster, golden: dict[str, Tensor]
):
    z, stamps_s = golden["features"], golden["timestamps_s"].double()
    first, second = (golden[f"samples_queries_step{k}"][:, :, 0] for k in (1, 2))
    memories = taken(drawing.remember(z, stamps_s), 4)
    ahead = stamps_s[:, 4:] - stamps_s[:, 3:5]
    predicted = drawing.predict(memories, stamps_s[:, :4], ahead[:, :1], first).z
    close(predicted[:, :, 0], golden["samples_rollout"][:, :, 0])
    for k in range(3):
        fed = drawing.remember(predicted[:, k], stamps_s[:, 4:5])
        grown = tuple(torch.cat(pair, dim=1) for pair in zip(memories, fed, strict=True))
        last = drawing.predict(grown, stamps_s[:, :5], ahead[:, 1:], second[:, k : k + 1]).z
        close(last[:, 0, 0], golden["samples_rollout"][:, k, 1])


def test_the_best_of_many_is_that_of_the_reference(
    drawing: WorldForecaster, golden: dict[str, Tensor]
):
    z, stamps_s = golden["features"], golden["timestamps_s"].double()
    many = drawing.predict_clip(z, stamps_s, golden["best_of_many_queries"])  # (B, T-1, K, ...)
    losses = functional.smooth_l1_loss(
        many, z[:, 1:, None].expand_as(many), beta=0.1, reduction="none"
    ).mean(dim=(3, 4, 5))
    best = losses.argmin(dim=2)
    rows, frames = torch.meshgrid(torch.arange(2), torch.arange(5), indexing="ij")
    found = many[rows, frames, best]
    close(found, golden["best_of_many_prediction"])


def plain(forecaster: WorldForecaster, z: Tensor, stamps_s: Tensor, instant_s: float) -> Tensor:
    """One frame (h, w, C) of float64, computed anew, patch by patch, from absolute times.

    Args:
        forecaster: whose weights to use.
        z: (N, h, w, C).
        stamps_s: (N,).
        instant_s: asked for.
    """
    config, weights = forecaster.config, {n: t.double() for n, t in forecaster.state_dict().items()}
    height, width = z.shape[1:3]
    z, size = z.double(), config.head_width

    def turned(vector: Tensor, position: tuple[float, float, float]) -> Tensor:
        vector, start = vector.clone(), 0
        for at, n in zip(position, config.rope, strict=True):
            for i in range(n // 2):
                exponent = -2.0 if n == 2 else -2 + 4 * i / (n // 2 - 1)
                angle = 2 * math.pi * at * 10**-exponent
                a, b = vector[start + i].clone(), vector[start + i + n // 2].clone()
                vector[start + i] = a * math.cos(angle) - b * math.sin(angle)
                vector[start + i + n // 2] = b * math.cos(angle) + a * math.sin(angle)
            start += n
        return vector

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        parts = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape, *parts)

    def where(instant: float, r: int, c: int) -> tuple[float, float, float]:
        return instant, 2 * c / (width - 1) - 1, 2 * r / (height - 1) - 1

    out = torch.empty_like(z[0])
    cells = [(r, c) for r in range(height) for c in range(width)]
    for r, c in cells:
        q = weights["query"]
        if config.query_newest:
            q = q + linear("query_newest", z[-1, r, c])
        for i in range(config.layers):
            name = f"blocks.{i}"
            asks = linear(f"{name}.attend.q", norm(f"{name}.norm_query", q)).split(size)
            mixed = []
            for h, ask in enumerate(asks):
                ask = turned(ask, where(instant_s, r, c))
                scores, values = [], []
                for frame, stamp in zip(z, stamps_s.tolist(), strict=True):
                    for y, x in cells:
                        k, v = linear(f"{name}.attend.kv", frame[y, x]).chunk(2)
                        key = turned(k.split(size)[h], where(stamp, y, x))
                        scores.append(ask @ key / math.sqrt(size))
                        values.append(v.split(size)[h])
                mixed.append(torch.stack(scores).softmax(0) @ torch.stack(values))
            attended = linear(f"{name}.attend.out", torch.cat(mixed))
            q = q + weights[f"{name}.scale_attend"] * attended
            hidden = functional.gelu(linear(f"{name}.mlp.expand", norm(f"{name}.norm_mlp", q)))
            q = q + weights[f"{name}.scale_mlp"] * linear(f"{name}.mlp.contract", hidden)
        out[r, c] = linear("out", norm("norm", q))
        if config.predict == "residual":
            out[r, c] += z[-1, r, c]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"query_newest": False, "predict": "features"}])
def test_a_forecast_is_that_of_a_plain_computation(changes: dict):
    forecaster = made(**changes, layers=2)
    z, stamps_s = torch.randn(1, 3, 2, 3, 6), torch.tensor([[0.1, 0.17, 0.4]]).double()
    memories = forecaster.remember(z, stamps_s)
    found = forecaster.forecast(memories, stamps_s, [0.25, 1.0])[0, 0]
    for frame, ahead_s in zip(found, (0.25, 1.0), strict=True):
        expected = plain(forecaster, z[0], stamps_s[0], 0.4 + ahead_s)
        torch.testing.assert_close(frame.double(), expected, rtol=1e-3, atol=2e-3)


FORECASTER = made()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_stored_memories_give_what_computing_anew_gives(data: st.DataObject):
    """Whatever the order, the distances and the company in which frames arrive."""
    count = data.draw(st.integers(1, 16), "frames")
    gaps_ms = data.draw(st.lists(st.integers(1, 250), min_size=count, max_size=count), "gaps")
    order = data.draw(st.permutations(range(count)), "order")
    batches = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count), "batches")
    ahead_s = sorted(data.draw(st.sets(st.sampled_from([0.02, 0.1, 0.5, 3.0]), min_size=1), "h"))
    base_s = data.draw(st.sampled_from([0.0, TODAY_S]), "base")
    generator = torch.Generator().manual_seed(count)
    z = torch.randn(1, count, *GRID, 6, generator=generator)
    stamps_s = torch.tensor(gaps_ms).double().cumsum(0)[None] / 1000
    stored: dict[int, tuple[Tensor, ...]] = {}
    left = list(order)
    for size in batches:  # frames of several instants are remembered in one call
        now, left = left[:size], left[size:]
        if now:
            memory = FORECASTER.remember(z[0, now], stamps_s[0, now] + base_s)
            stored |= {index: tuple(m[i] for m in memory) for i, index in enumerate(now)}
    memories = tuple(
        torch.stack(parts)[None] for parts in zip(*(stored[i] for i in range(count)), strict=True)
    )
    found = FORECASTER.forecast(memories, stamps_s, ahead_s)
    anew = FORECASTER.forecast(FORECASTER.remember(z, stamps_s), stamps_s, ahead_s)
    torch.testing.assert_close(found, anew, rtol=1e-5, atol=1e-5)
    singly = [FORECASTER.forecast(memories, stamps_s, [h])[:, :, 0] for h in ahead_s]
    torch.testing.assert_close(found, torch.stack(singly, dim=2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_stamp_of_today_gives_what_a_stamp_near_zero_gives(dtype: torch.dtype):
    forecaster = made().to(dtype)
    # Of a power of two, so that float64 seconds of today hold them exactly.
    stamps_s = torch.tensor([[0.0, 0.1875, 0.3125]]).double()
    z = torch.randn(1, 3, *GRID, 6).to(dtype)
    near, today = (
        forecaster.forecast(forecaster.remember(z, s), s, [0.1, 0.7])
        for s in (stamps_s, stamps_s + TODAY_S)
    )
    assert torch.equal(near, today)


def test_half_precision_keeps_times_apart():
    """Times in the model's number format would be off by turns: 2 s has 8 bits in bfloat16."""
    forecaster, rough = made(rope=(12, 0, 0), width=24), made(rope=(12, 0, 0)).bfloat16()
    stamps_s = torch.tensor([[0.0, 0.9, 1.9]]).double()
    z = torch.randn(1, 3, *GRID, 6).bfloat16()
    exact, found = (
        f.forecast(f.remember(x, stamps_s), stamps_s, [1.013]).float()
        for f, x in ((forecaster, z.float()), (rough, z))
    )
    assert (found - exact).abs().mean() < 0.03 * exact.std()


def test_cameras_of_one_batch_may_have_times_of_their_own():
    forecaster = made()
    z = torch.randn(2, 3, *GRID, 6)
    stamps_s = torch.tensor([[0.0, 0.1, 0.2], [5.0, 5.3, 5.33]]).double()
    together = forecaster.forecast(forecaster.remember(z, stamps_s), stamps_s, [0.3])
    for row in range(2):
        one = slice(row, row + 1)
        memories = forecaster.remember(z[one], stamps_s[one])
        alone = forecaster.forecast(memories, stamps_s[one], [0.3])
        torch.testing.assert_close(together[one], alone, rtol=1e-5, atol=1e-5)


def test_far_horizons_are_fed_back_where_the_configuration_says():
    forecaster = made(query="noise", noise_std=1.0).with_options(feed_back_beyond_s=0.2)
    z, stamps_s = torch.randn(2, 3, *GRID, 6), torch.tensor([[0.0, 0.1, 0.2]]).double()
    stamps_s = stamps_s.expand(2, -1)
    memories = forecaster.remember(z, stamps_s)
    parts = list(forecaster.stream(memories, stamps_s, [0.1, 0.2, 0.5], samples=3, layers=[1]))
    assert [part.z.shape[2] for part in parts] == [2, 1]
    assert parts[1].hidden[1].shape == (2, 3, 1, *GRID, 24)
    # Step by step, each sample by itself.
    direct = made(query="noise", noise_std=1.0)
    drawn = torch.Generator().manual_seed(direct.seed)
    noise = torch.cat([direct.draw_noise(1, generator=drawn) for _ in range(3)])
    for k in range(3):
        now, stamps, query = memories, stamps_s, noise[k].expand(2, 1, -1)
        for _ in range(2):
            ahead = torch.full((2, 1), 0.2).double()
            frame = direct.predict(now, stamps, ahead, query).z[:, 0]
            now = tuple(map(append, now, direct.remember(frame, stamps[:, -1:] + 0.2)))
            stamps = append(stamps, stamps[:, -1:] + 0.2)
        last = direct.predict(now, stamps, torch.full((2, 1), 0.1).double(), query).z[:, 0, 0]
        torch.testing.assert_close(parts[1].z[:, k, 0], last, rtol=1e-4, atol=1e-4)


def test_samples_are_the_same_at_every_forecast_and_fewer_are_the_first_of_more():
    forecaster = made(query="noise", noise_std=1.0)
    z, stamps_s = torch.randn(1, 2, *GRID, 6), torch.tensor([[0.0, 0.1]]).double()
    memories = forecaster.remember(z, stamps_s)
    five = forecaster.forecast(memories, stamps_s, [0.2, 0.4], samples=5)
    assert five.shape == (1, 5, 2, *GRID, 6)
    assert five.std(dim=1).min() > 0
    two = forecaster.forecast(memories, stamps_s, [0.2, 0.4], samples=2)
    torch.testing.assert_close(two, five[:, :2], rtol=1e-5, atol=1e-5)
    forecaster.seed = 1
    assert not torch.allclose(
        forecaster.forecast(memories, stamps_s, [0.2], samples=2), two[:, :, :1]
    )


def test_a_fresh_residual_forecaster_copies_the_newest_frame():
    values = {"channels": 6, "width": 24, "heads": 2, "rope": [4, 4, 4], "predict": "residual"}
    forecaster = build_forecaster({"kind": "world", **values}).eval()
    assert isinstance(forecaster, WorldForecaster)
    context = torch.randn(2, 4, *GRID, 6)
    assert torch.equal(forecaster.rollout(context, 2), context[:, -1:].expand(-1, 2, -1, -1, -1))
    assert forecaster(context).shape == (2, *GRID, 6)


def test_the_core_may_be_wrapped():
    forecaster, calls = made(), []

    def wrap(function):
        def counted(*arguments):
            calls.append(arguments)
            return function(*arguments)

        return counted

    context = torch.randn(1, 3, *GRID, 6)
    found = forecaster.with_wrapped_core(wrap).rollout(context, 3)
    assert torch.equal(found, forecaster.rollout(context, 3))
    assert len(calls) == 1  # three horizons in one batch


@pytest.mark.slow
def test_a_bundle_with_it_is_saved_loaded_and_run_by_the_engine(tmp_path: Path):
    micro = make_micro_bundle()
    bundle = replace(micro, forecaster=made(channels=30))
    loaded = Bundle.load(bundle.save(tmp_path / "world"))
    assert loaded.grid == (4, 6)
    images = np.random.default_rng(0).integers(0, 255, (3, 60, 80, 3), dtype=np.uint8)
    engine = Foresight(loaded, steps=2, outputs={"features"})
    stamps_ns = [1_790_000_000_123_456_789 + i * 200_000_000 for i in range(3)]
    forecast = [engine.update(i, s) for i, s in zip(images, stamps_ns, strict=True)][-1]
    assert forecast is not None
    with torch.inference_mode():
        z = loaded.pca.transform(loaded.encoder(loaded.encoder.preprocess(images)))
        expected = bundle.forecaster.rollout(z[None], 2)[0]
    for step, frame in zip(forecast.steps, expected, strict=True):
        np.testing.assert_allclose(step.features, frame, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"ahead_s": [0.0]}, r"horizons 0 s are not all above 0 and up to 10 s"),
        ({"ahead_s": [-0.1, 0.1]}, "not all above 0"),
        ({"ahead_s": [10.1]}, "up to 10 s"),
        ({"ahead_s": [math.nan]}, "not all above 0"),
        ({"ahead_s": [0.2, 0.1]}, "must rise"),
        ({"ahead_s": [0.2, 0.2]}, "must rise, without repetition"),
        ({"ahead_s": []}, "0 horizons are asked for; it must be 1 to 16"),
        ({"stamps_s": torch.tensor([[0.0, 0.1, 0.1]])}, "stamps of context frames must rise"),
        ({"stamps_s": torch.tensor([[0.0, 4.0, 4.5]])}, "4.5 s older than the newest; at most 4 s"),
        ({"samples": 2}, "samples is 2; this model forecasts one future"),
        ({"motion": torch.zeros(1, 1, 3)}, "takes no motion; train one with"),
        ({"layers": [2]}, r"layers \[2\] are not all 0 to 1"),
        ({"memories": (torch.zeros(1, 3, 3, 5, 7),)}, "context has shape"),
    ],
)
def test_what_it_cannot_answer_is_refused(question: dict, reason: str):
    forecaster = made()
    arguments = forecaster.evenly_spaced(torch.randn(1, 3, *GRID, 6), 1)
    named = dict(zip(("memories", "stamps_s", "ahead_s"), arguments, strict=True))
    with pytest.raises(ValueError, match=reason):
        next(forecaster.stream(**(named | question)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rope": [3, 4, 4]}, "three even numbers"),
        ({"rope": [8, 8, 8]}, "rotates 24 values of a head, which has 12"),
        ({"width": 25}, "does not split into 2 heads"),
        ({"context_frames": 17}, "must be 1 to 16"),
        ({"query": "random"}, "query 'random' is unknown; valid: learned, noise"),
        ({"max_context_age_s": 0}, "max_context_age_s is 0; it must be positive"),
        ({"depth": 3}, "unknown keys"),
    ],
)
def test_a_shape_that_does_not_work_is_refused(change: dict, reason: str):
    with pytest.raises(BundleError, match=reason):
        WorldConfig.from_dict(made().to_dict() | change)


def test_a_tensor_of_the_reference_that_is_unknown_is_named(reference: WorldForecaster):
    with pytest.raises(BundleError, match=r"tensor predictor.blocks.0.attention.k_proj.weight"):
        world_from_reference({"predictor.blocks.0.attention.k_proj.weight": torch.zeros(1)})
