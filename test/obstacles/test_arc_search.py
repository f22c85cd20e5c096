"""Cross-entropy search over arcs finds the minimum of known costs."""

from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles.arc_search import ArcLimits, fan, refine

LIMITS = ArcLimits(6.0, 0.8, 2.0)
CAR = ArcLimits(6.0, 0.8, 2.0, 5.0)


@pytest.mark.parametrize(("limits", "on_spot"), [(LIMITS, False), (LIMITS, True), (CAR, False)])
@pytest.mark.parametrize("count", [4, 8, 64])
def test_fan_has_so_many_different_arcs_within_the_limits_on_both_sides(
    count: int, limits: ArcLimits, on_spot: bool
):
    arcs = fan(count, limits, on_spot)
    assert arcs.shape == (count, 2)
    assert len(np.unique(arcs, axis=0)) == count
    assert arcs[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(limits.clipped(arcs), arcs)
    turns = ((arcs[:, 0] == 0) & (arcs[:, 1] != 0)).sum()
    assert turns == (0 if not on_spot or count < 8 else 2 if count < 16 else 4)
    np.testing.assert_allclose(sorted(arcs[:, 1]), sorted(-arcs[:, 1]), atol=1e-12)


def test_arcs_of_a_car_are_no_tighter_than_it_can_turn():
    arcs = CAR.clipped(np.random.default_rng(0).uniform((-1, -2), (7, 2), (200, 2)))
    moving = arcs[arcs[:, 1] != 0]
    assert (moving[:, 0] / np.abs(moving[:, 1]) > 5.0 - 1e-9).all()
    assert (arcs[arcs[:, 0] == 0, 1] == 0).all()


@pytest.mark.parametrize("best", [(4.3, -0.35), (0.9, 0.7), (0.0, 0.0), (6.0, 0.1)])
def test_rounds_close_in_on_the_best_arc(best: tuple[float, float]):
    def cost(arcs: np.ndarray) -> np.ndarray:
        return np.hypot((arcs[:, 0] - best[0]) / 6, (arcs[:, 1] - best[1]) / 0.8)

    random, arcs = np.random.default_rng(0), fan(48, LIMITS)
    first = cost(arcs).min()
    for _ in range(4):
        arcs = refine(arcs, cost(arcs), LIMITS, random)
        np.testing.assert_allclose(LIMITS.clipped(arcs), arcs)
    assert cost(arcs).min() <= first
    assert cost(arcs).min() < 0.06
    assert [0.0, 0.0] in arcs.tolist()


def test_same_seed_searches_the_same_arcs():
    arcs = fan(16, LIMITS)
    one, two = (refine(arcs, arcs[:, 0], LIMITS, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("limits", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("inf"))])
def test_limits_that_leave_no_arc_are_refused(limits: tuple[float, float, float]):
    with pytest.raises(UsageError, match="must be above 0"):
        ArcLimits(*limits)


def test_fan_of_too_few_arcs_is_refused():
    with pytest.raises(UsageError, match="4 or more"):
        fan(3, LIMITS)
