"""Futures drawn by noise after each block, against the same computed one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from random_world import random_world, remembered
from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.forecasters import (
    WorldForecaster,
    build_forecaster,
    describe_forecaster,
)
from dino_foresight_ros.model.forecasters.autoregressive import append
from dino_foresight_ros.model.forecasters.hindcast import (
    MOST_SPREAD,
    Change,
    believed_share,
    lattice,
    spread_factor,
)
from dino_foresight_ros.model.forecasters.noise_conditioning import NOISE_VALUES

GRID = (3, 5)
AHEAD_S = [0.2, 0.6]


def made(**changes: object) -> WorldForecaster:
    return random_world(0.3, **({"futures": "blocks"} | changes))


def noise_of(forecaster: WorldForecaster, samples: int) -> Tensor:
    """(K, E): pairs of opposite noise, and none for the last of an odd number."""
    drawn = torch.Generator().manual_seed(forecaster.seed)
    each = [torch.randn(1, NOISE_VALUES, generator=drawn) for _ in range(samples // 2)]
    rest = [torch.zeros(1, NOISE_VALUES)] * (samples % 2)
    return torch.cat([x for one in each for x in (one, -one)] + rest)


def without(forecaster: WorldForecaster) -> WorldForecaster:
    """The same weights, less those for futures."""
    plain = WorldForecaster(replace(forecaster.config, futures="none"))
    state = forecaster.state_dict()
    plain.load_state_dict({n: t for n, t in state.items() if not n.startswith("futures.")})
    return plain.eval().requires_grad_(False)


def test_a_block_changes_each_patch_as_a_plain_computation_does():
    forecaster = made()
    assert forecaster.futures is not None
    q, noise = torch.randn(2, 1, 7, 24), torch.randn(2, 3, NOISE_VALUES)
    found = forecaster.futures.blocks[1](q, noise)
    assert found.shape == (2, 3, 7, 24)
    w = {
        n.removeprefix("futures.blocks.1."): t.double() for n, t in forecaster.state_dict().items()
    }
    for b, k, t in ((0, 0, 0), (1, 2, 6), (0, 1, 3)):
        x, e = q[b, 0, t].double(), noise[b, k].double()
        normed = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        normed = normed * w["norm.weight"] + w["norm.bias"]
        held = torch.nn.functional.gelu(w["expand.weight"] @ normed + w["expand.bias"])
        expected = x + w["contract.weight"] @ (held * (w["gate.weight"] @ e))
        torch.testing.assert_close(found[b, k, t].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hindcast", [False, True])
def test_one_future_is_what_the_forecaster_without_expects(hindcast: bool):
    forecaster = made(hindcast=hindcast)
    memories, stamps_s = remembered(forecaster, GRID)
    expected = without(forecaster).forecast(memories, stamps_s, AHEAD_S)
    assert torch.equal(forecaster.forecast(memories, stamps_s, AHEAD_S), expected)


def test_noise_of_zeros_changes_nothing():
    forecaster = made()
    memories, stamps_s = remembered(forecaster, GRID)
    zero, ahead_s = torch.zeros(2, 1, NOISE_VALUES), torch.tensor([AHEAD_S] * 2).double()
    expected = without(forecaster).forecast(memories, stamps_s, AHEAD_S)
    same = forecaster.predict(memories, stamps_s, ahead_s, zero).z
    torch.testing.assert_close(same, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("samples", [2, 5])
def test_futures_are_pairs_of_opposite_noise(samples: int):
    forecaster = made()
    memories, stamps_s = remembered(forecaster, GRID)
    found = forecaster.forecast(memories, stamps_s, AHEAD_S, samples=samples)
    assert found.shape == (2, samples, 2, *GRID, 6)
    assert found.std(dim=1).min() > 0
    ahead_s = torch.tensor([AHEAD_S] * 2).double()
    for k, noise in enumerate(noise_of(forecaster, samples)):
        alone = forecaster.predict(memories, stamps_s, ahead_s, noise.expand(2, 1, -1)).z
        torch.testing.assert_close(found[:, k], alone[:, 0], rtol=1e-4, atol=1e-4)
    forecaster.seed = 1
    other = forecaster.forecast(memories, stamps_s, AHEAD_S, samples=samples)
    assert not torch.allclose(other[:, 0], found[:, 0])


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("reach_s", [None, 0.2])
def test_with_hindcast_futures_are_those_of_plain_formulas(samples: int, reach_s: float | None):
    """Two cameras with a share and a factor of their own, also where all is fed back."""
    forecaster = made(hindcast=True).with_options(feed_back_beyond_s=reach_s)
    plain = made()
    torch.manual_seed(1)
    z = torch.randn(2, 3, *GRID, 6)
    z[1, 2] = z[1, 1] + 0.1 * z[1, 2]  # of the second camera less changed
    stamps_s = torch.tensor([[0.0, 0.1, 0.25], [0.0, 0.2, 0.3]]).double()
    memories = plain.remember(z, stamps_s)
    noise = noise_of(plain, samples).expand(2, -1, -1)
    rows, columns = lattice(*GRID)
    changes = []
    for left in (1, 2):
        past, until_s = tuple(m[:, :-left] for m in memories), stamps_s[:, -1:]
        until_s = until_s - stamps_s[:, -1 - left : -left]
        drawn = plain.predict(past, stamps_s[:, :-left], until_s, noise).z[:, :, 0]
        before = z[:, -1 - left]
        moved = (drawn - before[:, None])[:, :, rows][:, :, :, columns]
        true = (z[:, -1] - before)[:, rows][:, :, columns]
        changes.append(Change(moved.mean(1), true, moved.var(1, correction=0).sum(-1)))
    share = believed_share(changes, GRID)
    factor = spread_factor(changes, share, GRID)
    assert (share[0] - share[1]).abs().max() > 0.1
    assert (factor[0] - factor[1]).abs().max() > 0.1

    def believed(now: Tensor, predicted: Tensor) -> Tensor:
        """Both (2, K, h, w, C)."""
        out = torch.empty_like(predicted)
        for b in range(2):
            change = predicted[b] - now[b]
            mean = sum(change) / samples
            for k in range(samples):
                each = share[b, ..., None] * mean + factor[b, ..., None] * (change[k] - mean)
                out[b, k] = now[b, k] + each
        return out

    ahead_s = torch.full((2, 1), 0.2).double()
    newest = z[:, -1][:, None].expand(-1, samples, -1, -1, -1)
    first = believed(newest, plain.predict(memories, stamps_s, ahead_s, noise).z[:, :, 0])
    if reach_s is None:
        ahead_s = torch.full((2, 1), 0.4).double()
        second = believed(newest, plain.predict(memories, stamps_s, ahead_s, noise).z[:, :, 0])
    else:
        each = []
        for k in range(samples):
            memory = plain.remember(first[:, k : k + 1], stamps_s[:, -1:] + 0.2)
            now, stamps = (
                tuple(map(append, memories, memory)),
                append(stamps_s, stamps_s[:, -1:] + 0.2),
            )
            each.append(plain.predict(now, stamps, ahead_s, noise[:, k : k + 1]).z[:, 0, 0])
        second = believed(first, torch.stack(each, dim=1))
    found = forecaster.forecast(memories, stamps_s, [0.2, 0.4], samples=samples)
    torch.testing.assert_close(found, torch.stack([first, second], dim=2), rtol=1e-3, atol=1e-4)


def test_futures_differ_as_much_as_those_of_the_past_erred():
    """Drawn nearly alike, of a camera whose newest frame is what the past did not foretell."""
    near = made(hindcast=True)
    for name, parameter in near.named_parameters():
        if name.endswith("gate.weight"):
            parameter.mul_(0.02)
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(2, 3, *GRID, 6, generator=generator)
    stamps_s = torch.tensor([[0.0, 0.1, 0.25]]).double().expand(2, -1)

    def spread(forecaster: WorldForecaster, frames: Tensor) -> Tensor:
        memories = forecaster.remember(frames, stamps_s)
        futures = forecaster.forecast(memories, stamps_s, [0.2], samples=8)
        return futures.std(dim=1, correction=0)

    drawn = spread(near.with_options(hindcast=False), z)
    torch.testing.assert_close(spread(near, z), MOST_SPREAD * drawn, rtol=1e-3, atol=1e-5)
    still = z[:, :1].expand(-1, 3, -1, -1, -1)
    assert float(spread(near, still).max()) < 1e-5  # nothing changed, so nothing is thought to


def test_a_spread_that_was_right_in_the_past_stays():
    """The newest frame is one of the futures that were drawn of the frame before it."""
    forecaster = made(hindcast=True)
    plain = forecaster.with_options(hindcast=False)
    stamps_s = torch.tensor([[0.0, 0.2]]).double().expand(40, -1)
    first = torch.randn(40, 1, *GRID, 6, generator=torch.Generator().manual_seed(2))
    drawn = torch.randn(40, 1, NOISE_VALUES, generator=torch.Generator().manual_seed(9))
    memory = plain.remember(first, stamps_s[:, :1])
    ahead_s = torch.full((40, 1), 0.2).double()
    second = plain.predict(memory, stamps_s[:, :1], ahead_s, drawn).z[:, 0]
    memories = plain.remember(torch.cat([first, second], dim=1), stamps_s)
    spreads = [
        f.forecast(memories, stamps_s, [0.2], samples=32).std(dim=1, correction=0).mean()
        for f in (forecaster, plain)
    ]
    assert float(spreads[0] / spreads[1]) == pytest.approx(1.0, abs=0.15)


def test_each_future_goes_on_from_its_own_past():
    forecaster = made().with_options(feed_back_beyond_s=0.2)
    direct = made()
    memories, stamps_s = remembered(forecaster, GRID)
    found = forecaster.forecast(memories, stamps_s, [0.4], samples=3)
    for k, noise in enumerate(noise_of(direct, 3)):
        drawn, ahead_s = noise.expand(2, 1, -1), torch.full((2, 1), 0.2).double()
        frame = direct.predict(memories, stamps_s, ahead_s, drawn).z[:, 0]
        now = tuple(map(append, memories, direct.remember(frame, stamps_s[:, -1:] + 0.2)))
        stamps = append(stamps_s, stamps_s[:, -1:] + 0.2)
        last = direct.predict(now, stamps, ahead_s, drawn).z
        torch.testing.assert_close(found[:, k], last[:, 0], rtol=1e-4, atol=1e-4)


def test_candidate_motions_are_of_the_expected_future():
    forecaster = made(motion="blocks")
    memories, stamps_s = remembered(forecaster, GRID)
    candidates = torch.randn(2, 3, 2, 3)
    found = forecaster.forecast(memories, stamps_s, AHEAD_S, candidates)
    expected = without(forecaster).forecast(memories, stamps_s, AHEAD_S, candidates)
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match="samples is 2; with 3 candidates it must be 1"):
        forecaster.forecast(memories, stamps_s, AHEAD_S, candidates, samples=2)
    told = forecaster.forecast(memories, stamps_s, AHEAD_S, candidates[:, 0], samples=2)
    assert told.shape == (2, 2, 2, *GRID, 6)


def test_parts_for_futures_are_added_to_a_forecaster_that_had_none():
    plain = without(made())
    more = plain.with_parts(replace(plain.config, futures="blocks")).requires_grad_(False)
    memories, stamps_s = remembered(plain, GRID)
    assert (plain.max_samples, more.max_samples) == (1, 64)
    expected = plain.forecast(memories, stamps_s, AHEAD_S)
    assert torch.equal(more.forecast(memories, stamps_s, AHEAD_S), expected)
    assert more.forecast(memories, stamps_s, AHEAD_S, samples=2).std(dim=1).min() > 0
    again = build_forecaster(describe_forecaster(more))
    assert isinstance(again, WorldForecaster)
    again.load_state_dict(more.state_dict())
    with pytest.raises(ValueError, match="samples is 2; this model forecasts one future"):
        plain.forecast(memories, stamps_s, AHEAD_S, samples=2)


def test_fresh_weights_are_the_same_with_and_without_parts_for_futures():
    found, config = [], made().config
    for futures in ("none", "blocks"):
        torch.manual_seed(3)
        forecaster = WorldForecaster(replace(config, futures=futures))
        forecaster.initialise(0.5)
        found.append(forecaster.state_dict())
    plain, drawing = found
    assert all(torch.equal(drawing[name], value) for name, value in plain.items())


def test_half_precision_draws_too():
    exact, rough = made(hindcast=True), made(hindcast=True).bfloat16()
    torch.manual_seed(0)
    z, stamps_s = torch.randn(1, 2, *GRID, 6).bfloat16(), torch.tensor([[0.0, 0.1]]).double()
    expected, found = (
        f.forecast(f.remember(x, stamps_s), stamps_s, AHEAD_S, samples=2)
        for f, x in ((exact, z.float()), (rough, z))
    )
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().mean() < 0.05 * expected.std()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"futures": "dice"}, "futures 'dice' is unknown; valid: none, blocks"),
        ({"query": "noise"}, "futures 'blocks' needs query 'learned'"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(changes: dict, reason: str):
    with pytest.raises(BundleError, match=reason):
        made(**changes)
