"""Forecasts that know how the camera's base moves, against the same computed one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from micro_bundle import make_micro_bundle
from random_world import random_world, remembered
from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import (
    WorldConfig,
    WorldForecaster,
    build_forecaster,
    describe_forecaster,
)
from dino_foresight_ros.model.forecasters.autoregressive import append
from dino_foresight_ros.planar_motion import compose, inverse, of_twist

GRID = (3, 5)
KINDS = ("blocks", "film")


def made(motion: str, **changes: object) -> WorldForecaster:
    return random_world(0.5, **({"motion": motion, "motion_scale": (2.0, 0.5, 0.3)} | changes))


def plain_change(forecaster: WorldForecaster, index: int, q: Tensor, motion: Tensor) -> Tensor:
    """What the motion makes of one patch's query (D,), computed from the weights by name."""
    w = {n: t.double() for n, t in forecaster.state_dict().items() if n.startswith("motion.")}

    def layer(name: str, x: Tensor) -> Tensor:
        return w[f"motion.{name}.weight"] @ x + w[f"motion.{name}.bias"]

    gelu = torch.nn.functional.gelu
    if motion.isnan().any():
        a = w["motion.unknown"]
    else:
        scale = torch.tensor(forecaster.config.motion_scale).double()
        a = layer("contract", gelu(layer("expand", motion / scale)))
    block = f"blocks.{index}"
    if forecaster.config.motion == "film":
        scale, shift = layer(f"{block}.contract", gelu(layer(f"{block}.expand", a))).chunk(2)
        return q * (1 + scale) + shift
    joined = torch.cat([q, a])
    joined = (joined - joined.mean()) / (joined.var(unbiased=False) + 1e-5).sqrt()
    joined = joined * w[f"motion.{block}.norm.weight"] + w[f"motion.{block}.norm.bias"]
    return q + layer(f"{block}.contract", gelu(layer(f"{block}.expand", joined)))


@pytest.mark.parametrize("motion", KINDS)
def test_each_block_changes_each_patch_as_a_plain_computation_does(motion: str):
    forecaster = made(motion)
    assert forecaster.motion is not None
    q = torch.randn(2, 1, 8, 24)  # four patches of each of two instants
    rows = torch.tensor([0] * 4 + [1] * 4)
    moves = torch.randn(2, 3, 2, 3)
    moves[1, 2, 0, 1] = math.nan
    found = forecaster.motion.blocks[1](q, forecaster.motion.embed(moves), rows)
    assert found.shape == (2, 3, 8, 24)
    for b, k, s, p in ((0, 0, 0, 0), (0, 2, 1, 3), (1, 2, 0, 1), (1, 1, 1, 2)):
        t = 4 * s + p
        expected = plain_change(forecaster, 1, q[b, 0, t].double(), moves[b, k, s].double())
        torch.testing.assert_close(found[b, k, t].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("motion", KINDS)
@pytest.mark.parametrize("query", ["learned", "noise"])
def test_candidates_at_once_are_what_each_gives_alone(motion: str, query: str):
    forecaster = made(motion, query=query)
    memories, stamps_s = remembered(forecaster, GRID)
    candidates = torch.randn(2, 5, 2, 3)
    candidates[0, 3, 1, 2] = math.nan
    parts = list(forecaster.stream(memories, stamps_s, [0.2, 0.6], candidates, layers=[0, 1]))
    found = parts[0].z
    assert found.shape == (2, 5, 2, *GRID, 6)
    assert parts[0].hidden[0].shape == (2, 5, 2, *GRID, 24)
    for k in range(5):
        for s, ahead_s in enumerate((0.2, 0.6)):
            alone = forecaster.forecast(memories, stamps_s, [ahead_s], candidates[:, k, s : s + 1])
            torch.testing.assert_close(found[:, k, s], alone[:, 0, 0], rtol=1e-4, atol=1e-4)
    assert found[:, :3].std(dim=1).min() > 0  # each motion shows another future


@pytest.mark.parametrize("motion", KINDS)
def test_an_unknown_motion_is_one_with_a_nan(motion: str):
    forecaster = made(motion)
    memories, stamps_s = remembered(forecaster, GRID)
    without = forecaster.forecast(memories, stamps_s, [0.2, 0.6])
    for value in (math.nan, math.inf):
        moves = torch.randn(2, 2, 3)
        moves[..., 1] = value
        assert torch.equal(forecaster.forecast(memories, stamps_s, [0.2, 0.6], moves), without)
    still = forecaster.forecast(memories, stamps_s, [0.2, 0.6], torch.zeros(2, 2, 3))
    assert not torch.allclose(still, without)  # standing still is known


@pytest.mark.parametrize("motion", KINDS)
@pytest.mark.parametrize("query", ["learned", "noise"])
def test_blocks_added_to_a_trained_forecaster_change_nothing_at_first(motion: str, query: str):
    trained = made("none", query=query)
    config = replace(trained.config, motion=motion, motion_scale=(1.0, 1.0, 0.1))
    state = torch.get_rng_state()
    added = trained.with_parts(config).eval().requires_grad_(False)
    assert added.takes_motion
    assert not trained.takes_motion
    memories, stamps_s = remembered(trained, GRID)
    expected = trained.forecast(memories, stamps_s, [0.2, 0.6])
    torch.set_rng_state(state)
    for moves in (None, torch.randn(2, 2, 3), torch.full((2, 2, 3), math.nan)):
        assert torch.equal(added.forecast(memories, stamps_s, [0.2, 0.6], moves), expected)


def test_a_fresh_forecaster_begins_with_the_same_weights_with_and_without_motion():
    fresh = {}
    for motion in ("none", *KINDS):
        torch.manual_seed(3)
        config = replace(made("none").config, motion=motion)
        torch.manual_seed(3)
        fresh[motion] = WorldForecaster(config)
        fresh[motion].initialise(0.5)
        fresh[f"{motion} then"] = torch.rand(1)
    for motion in KINDS:
        for name, value in fresh["none"].state_dict().items():
            assert torch.equal(value, fresh[motion].state_dict()[name]), name
        assert torch.equal(fresh[f"{motion} then"], fresh["none then"])


@pytest.mark.parametrize("motion", KINDS)
def test_far_horizons_of_candidates_are_fed_back_with_the_motion_that_is_left(motion: str):
    forecaster = made(motion).with_options(feed_back_beyond_s=0.2)
    direct = made(motion)
    memories, stamps_s = remembered(forecaster, GRID)
    twists = torch.tensor([[3.0, 0.0, 0.5], [1.0, 0.1, -0.7], [0.0, 0.0, 0.0]])
    ahead_s = [0.1, 0.5]
    path = torch.stack(
        [torch.from_numpy(of_twist(twists.numpy(), [h] * 3)) for h in ahead_s], dim=1
    )
    candidates = path.expand(2, 3, 2, 3).float()
    found = forecaster.forecast(memories, stamps_s, ahead_s, candidates)
    for k, twist in enumerate(twists.numpy()):
        now, stamps = memories, stamps_s
        step = torch.from_numpy(of_twist(twist, 0.2)).float().expand(2, 1, 3)
        for _ in range(2):
            frame = direct.forecast(now, stamps, [0.2], step)[:, 0]
            now = tuple(map(append, now, direct.remember(frame, stamps[:, -1:] + 0.2)))
            stamps = append(stamps, stamps[:, -1:] + 0.2)
        rest = compose(inverse(of_twist(twist, 0.4)), of_twist(twist, 0.5))
        rest = torch.from_numpy(rest).float().expand(2, 1, 3)
        last = direct.forecast(now, stamps, [0.1], rest)[:, 0, 0]
        torch.testing.assert_close(found[:, k, 1], last, rtol=2e-3, atol=2e-3)


def test_every_frame_of_a_clip_knows_the_motion_to_it():
    forecaster = made("blocks")
    z, stamps_s = torch.randn(2, 4, *GRID, 6), torch.tensor([[0.0, 0.1, 0.3, 0.4]]).double()
    stamps_s, moves = stamps_s.expand(2, -1), torch.randn(2, 3, 3)
    found = forecaster.predict_clip(z, stamps_s, motion=moves)
    for t in range(1, 4):
        memories = forecaster.remember(z[:, :t], stamps_s[:, :t])
        ahead_s = float(stamps_s[0, t] - stamps_s[0, t - 1])
        alone = forecaster.forecast(memories, stamps_s[:, :t], [ahead_s], moves[:, t - 1 : t])
        torch.testing.assert_close(found[:, t - 1, 0], alone[:, 0, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scales_a_motion_before_it_is_rounded(dtype: torch.dtype):
    """100 m has steps of 0.06 m in float16; a motion far off must not become infinite."""
    forecaster = made("blocks", motion_scale=(1e3, 1e3, 1.0)).to(dtype)
    memories, stamps_s = remembered(made("blocks"), GRID)
    memories = tuple(m.to(dtype) for m in memories)
    moves = torch.tensor([[[9e4, 0.0, 0.1]]]).expand(2, 1, 3)
    assert forecaster.forecast(memories, stamps_s, [0.2], moves).isfinite().all()


@pytest.mark.parametrize("motion", ["blocks", "film"])
def test_a_saved_and_loaded_forecaster_foresees_the_same(motion: str, tmp_path: Path):
    forecaster = made(motion, channels=30)
    bundle = replace(make_micro_bundle(), forecaster=forecaster)
    loaded = Bundle.load(bundle.save(tmp_path / "bundle")).forecaster
    stamps_s = torch.tensor([[0.0, 0.1, 0.25]]).double()
    memories = forecaster.remember(torch.randn(1, 3, *GRID, 30), stamps_s)
    moves = torch.randn(1, 3, 2, 3)
    one, other = (f.forecast(memories, stamps_s, [0.2, 0.5], moves) for f in (forecaster, loaded))
    torch.testing.assert_close(one, other)


def test_the_configuration_goes_through_a_bundle():
    forecaster = made("film", motion_speeds=(15.0, 1.0, 0.6))
    again = build_forecaster(describe_forecaster(forecaster))
    again.load_state_dict(forecaster.state_dict())
    again.eval().requires_grad_(False)
    assert again.takes_motion
    assert again.motion_speeds == (15.0, 1.0, 0.6)
    memories, stamps_s = remembered(forecaster, GRID)
    moves = torch.randn(2, 1, 3)
    assert torch.equal(
        again.forecast(memories, stamps_s, [0.2], moves),
        forecaster.forecast(memories, stamps_s, [0.2], moves),
    )


@pytest.mark.parametrize(
    ("moves", "samples", "reason"),
    [
        (torch.zeros(2, 2, 3), 1, r"motion has shape \(2, 2, 3\), expected \(2, 1, 3\)"),
        (torch.zeros(1, 1, 3), 1, "for K candidates"),
        (torch.zeros(2, 4, 1, 2), 1, "motion has shape"),
        (torch.zeros(2, 0, 1, 3), 1, "motion has shape"),
        (torch.zeros(2, 4, 1, 3), 3, "samples is 3; with 4 candidates it must be 1"),
    ],
)
def test_a_motion_of_another_shape_is_refused(moves: Tensor, samples: int, reason: str):
    forecaster = made("blocks", query="noise")
    memories, stamps_s = remembered(forecaster, GRID)
    with pytest.raises(ValueError, match=reason):
        forecaster.forecast(memories, stamps_s, [0.2], moves, samples=samples)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"motion": "gru"}, "motion 'gru' is unknown; valid: none, blocks, film"),
        ({"motion_scale": (1.0, 0.0, 1.0)}, "must be 3 positive numbers"),
        ({"motion_speeds": (1.0, 2.0)}, "must be 3 positive numbers"),
    ],
)
def test_a_configuration_that_does_not_work_is_refused(change: dict, reason: str):
    with pytest.raises(BundleError, match=reason):
        WorldConfig.from_dict(made("none").to_dict() | change)
