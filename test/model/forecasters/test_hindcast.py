"""How far forecasts are believed, against plain loops and what is known to come true."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_world import random_world
from torch import Tensor

from dino_foresight_ros.model.forecasters import WorldForecaster
from dino_foresight_ros.model.forecasters.hindcast import (
    Change,
    believed_share,
    lattice,
    spread_factor,
)

GRID = (5, 7)
STAMPS_S = 1_790_000_000.0 + torch.tensor([[0.0, 0.2, 0.5, 0.7]], dtype=torch.float64)


def made(seed: int = 0, **changes: object) -> WorldForecaster:
    return random_world(0.3, seed, **({"hindcast": True} | changes))


def features(frames: int = 4, batch: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(batch, frames, *GRID, 6, generator=torch.Generator().manual_seed(seed))


def asked(forecaster: WorldForecaster, z: Tensor, **rest: object) -> Tensor:
    stamps_s = STAMPS_S[:, -z.shape[1] :].expand(len(z), -1)
    return forecaster.forecast(forecaster.remember(z, stamps_s), stamps_s, [0.2, 0.9], **rest)


def ratio_in_loops(over: Tensor, under: Tensor, grid: tuple[int, int], most: float) -> Tensor:
    """Sums of each patch's neighbourhood, drawn to those of the picture by the prior."""
    rows, columns = (range(side)[part] for side, part in zip(grid, lattice(*grid), strict=True))
    found = torch.zeros(len(over), *grid)
    for b in range(len(over)):
        top, bottom = {}, {}
        for i, r in enumerate(rows):
            for j, c in enumerate(columns):
                top[r, c], bottom[r, c] = float(over[b, i, j]), float(under[b, i, j])
        whole = min(max(sum(top.values()) / sum(bottom.values()), 0.0), most)
        mean = sum(bottom.values()) / len(bottom)
        for r in range(grid[0]):
            for c in range(grid[1]):
                near = [k for k in top if abs(k[0] - r) <= 2 and abs(k[1] - c) <= 2]
                prior = 0.3 * mean * len(near)
                each = sum(top[k] for k in near) + prior * whole
                one = each / (sum(bottom[k] for k in near) + prior)
                found[b, r, c] = min(max(one, 0.0), most)
    return found


@settings(max_examples=15, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    hindcasts=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_share_and_spread_are_those_of_plain_loops(
    grid: tuple[int, int], hindcasts: int, seed: int
):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, *torch.zeros(grid)[lattice(*grid)].shape, 3)
    predicted = [torch.randn(shape, generator=generator) for _ in range(hindcasts)]
    variances = [torch.rand(shape[:-1], generator=generator) for _ in range(hindcasts)]
    true = [0.4 * p + torch.randn(shape, generator=generator) for p in predicted]
    changes = [Change(*each) for each in zip(predicted, true, variances, strict=True)]
    agreed = sum((p * t).sum(-1) for p, t in zip(predicted, true, strict=True))
    share = ratio_in_loops(agreed, sum((p * p).sum(-1) for p in predicted), grid, 1.0)
    torch.testing.assert_close(believed_share(changes, grid), share)
    rows, columns = lattice(*grid)
    at = share[:, rows, columns, None]
    off = sum(((t - at * p) ** 2).sum(-1) for p, t in zip(predicted, true, strict=True))
    factor = ratio_in_loops(off, sum(variances), grid, 9.0).sqrt()
    torch.testing.assert_close(spread_factor(changes, share, grid), factor)


def test_a_camera_that_stands_is_forecast_to_stay_as_it_is():
    z = features(1).expand(-1, 4, -1, -1, -1)
    still = z[:, -1][:, None, None].expand(-1, 1, 2, -1, -1, -1)
    assert (asked(made(hindcast=False), z) - still).abs().max() > 0.5
    torch.testing.assert_close(asked(made(), z), still, rtol=0, atol=1e-6)


@pytest.mark.parametrize("predict", ["residual", "features"])
def test_what_came_true_is_believed(predict: str):
    """Two frames, the second of which is just what the forecast of the first was."""
    plain = made(hindcast=False, predict=predict)
    first = features(1)
    stamps_s = STAMPS_S[:, :2].expand(2, -1)
    memory = plain.remember(first, stamps_s[:, :1])
    ahead_s = [float(stamps_s[0, 1] - stamps_s[0, 0])]
    second = plain.forecast(memory, stamps_s[:, :1], ahead_s)[:, 0]
    z = torch.cat([first, second], dim=1)
    both = plain.remember(z, stamps_s)
    believing = plain.with_options(hindcast=True)
    torch.testing.assert_close(
        believing.forecast(both, stamps_s, [0.2]), plain.forecast(both, stamps_s, [0.2]), atol=1e-4,
        rtol=0,
    )  # fmt: skip


def test_both_hindcasts_are_direct_forecasts_of_the_newest_frame():
    forecaster, z = made(), features()
    stamps_s = STAMPS_S.expand(2, -1)
    memories = forecaster.remember(z, stamps_s)
    rows, columns = lattice(*GRID)
    changes = []
    for left in (1, 2):
        past = tuple(m[:, :-left] for m in memories)
        until_s = stamps_s[:, -1:] - stamps_s[:, -1 - left : -left]
        predicted = forecaster.predict(past, stamps_s[:, :-left], until_s).z[:, 0, 0]
        before, newest = z[:, -1 - left], z[:, -1]
        changes.append(
            Change(*(x[:, rows, columns] for x in (predicted - before, newest - before)))
        )
    share = believed_share(changes, GRID)
    plain = asked(forecaster.with_options(hindcast=False), z)
    expected = z[:, -1][:, None, None] + share[:, None, None, ..., None] * (
        plain - z[:, -1][:, None, None]
    )
    torch.testing.assert_close(asked(forecaster, z), expected)
    assert 0.0 <= share.min() < share.max() <= 1.0


def test_one_frame_says_nothing_of_the_past():
    z = features(1)
    torch.testing.assert_close(asked(made(), z), asked(made(hindcast=False), z), rtol=0, atol=0)


def test_motions_that_were_not_driven_are_not_judged_by_the_past():
    z = features(1).expand(-1, 4, -1, -1, -1)
    motion = torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    forecaster = made(motion="blocks")
    candidates = asked(forecaster, z, motion=motion)
    plain = forecaster.with_options(hindcast=False)
    torch.testing.assert_close(candidates, asked(plain, z, motion=motion), rtol=0, atol=0)
    driven = asked(forecaster, z, motion=motion[:, 0])
    torch.testing.assert_close(driven[:, 0, 0], z[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 3])
def test_futures_that_are_fed_back_go_on_from_what_is_believed(samples: int):
    forecaster = made(query="noise", noise_std=1.0, feed_back_beyond_s=0.4)
    z = features(1).expand(-1, 4, -1, -1, -1)
    still = z[:, -1][:, None, None].expand(-1, samples, 2, -1, -1, -1)
    torch.testing.assert_close(asked(forecaster, z, samples=samples), still, rtol=0, atol=1e-6)


def test_half_precision_stays_finite_and_in_its_format():
    z = (features() * 200).half()
    found = asked(made().half(), z)
    assert found.dtype == torch.float16
    assert found.isfinite().all()
