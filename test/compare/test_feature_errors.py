"""Scores of several futures, against all pairs one by one and a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dino_foresight_ros.compare.feature_errors import crps, energy_scores


def by_pairs(futures: Tensor, true: Tensor) -> Tensor:
    """E|x - y| - E|x - x'| / 2 of each value, over pairs of different futures."""
    count = len(futures)
    from_truth = sum((x - true).abs() for x in futures) / count
    if count == 1:
        return from_truth
    apart = sum((futures[i] - futures[j]).abs() for i in range(count) for j in range(count))
    return from_truth - apart / (count * (count - 1)) / 2


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_crps_is_that_of_all_pairs_and_the_energy_score_of_single_values(count: int):
    generator = torch.Generator().manual_seed(count)
    futures, true = (torch.randn(*n, 4, 5, generator=generator) for n in ((count,), ()))
    torch.testing.assert_close(crps(futures, true), by_pairs(futures, true))
    alone = energy_scores(futures[..., None], true[..., None])
    torch.testing.assert_close(crps(futures, true), alone)


def test_crps_of_many_normal_futures_is_the_closed_form():
    """Of a normal distribution: z (2 P(z) - 1) + 2 p(z) - pi^-1/2 (Gneiting and Raftery 2007)."""
    futures = torch.randn(200_000, generator=torch.Generator().manual_seed(0))[:, None]
    for z in (-1.5, 0.0, 0.7):
        below, density = (
            0.5 * (1 + math.erf(z / 2**0.5)),
            math.exp(-(z**2) / 2) / (2 * math.pi) ** 0.5,
        )
        expected = z * (2 * below - 1) + 2 * density - math.pi**-0.5
        assert float(crps(futures, torch.tensor([z]))) == pytest.approx(expected, abs=0.01)


def test_scores_are_least_where_futures_differ_as_the_truth_does():
    generator = torch.Generator().manual_seed(0)
    futures, true = (torch.randn(*n, 4000, 3, generator=generator) for n in ((6,), ()))
    scores = {s: float(crps(s * futures, true).mean()) for s in (0.3, 1.0, 2.0)}
    assert scores[1.0] == min(scores.values())
    energies = {s: float(energy_scores(s * futures, true).mean()) for s in (0.3, 1.0, 2.0)}
    assert energies[1.0] == min(energies.values())
