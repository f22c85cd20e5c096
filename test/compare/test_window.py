"""Running means against the same means over a list."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dino_foresight_ros.compare import Difference, Running, RunningSkill, skill_of

NAN = math.nan


def rows(count: int) -> list[tuple[Difference, Difference]]:
    """Made-up differences, some of which could not be measured."""
    rng = np.random.default_rng(8)
    values = rng.uniform(0.1, 1.0, (count, 2, 3))
    values[rng.random(values.shape) < 0.2] = NAN
    return [(Difference(*map(float, a)), Difference(*map(float, b))) for a, b in values]


def check(found: Running, kept: list[tuple[Difference, Difference]]) -> None:
    assert found.forecasts == len(kept)
    for index in range(3):
        pairs = [(a[index], b[index]) for a, b in kept]
        pairs = [(a, b) for a, b in pairs if not math.isnan(a) and not math.isnan(b)]
        for side, means in enumerate((found.forecast, found.copy)):
            if pairs:
                assert means[index] == pytest.approx(sum(p[side] for p in pairs) / len(pairs))
            else:
                assert math.isnan(means[index])


@pytest.mark.parametrize("window", [1, 3, 7, 40])
def test_means_are_over_the_newest(window: int):
    running, made = RunningSkill(window), rows(20)
    check(running.means(), [])
    for count, row in enumerate(made, start=1):
        check(running.add(*row), made[max(0, count - window) : count])


@pytest.mark.parametrize("taken", [0, 2, 5, 13])
@pytest.mark.parametrize("other", [1, 4, 5, 9])
def test_another_window_keeps_the_newest(taken: int, other: int):
    running, made = RunningSkill(5), rows(taken + 6)
    for row in made[:taken]:
        running.add(*row)
    running.resize(other)
    kept = made[:taken][-5:][-other:]
    check(running.means(), kept)
    for row in made[taken:]:
        kept = [*kept, row][-other:]
        check(running.add(*row), kept)


def test_skill_compares_means_with_copy_last():
    assert skill_of(0.5, 2.0) == 0.75
    assert skill_of(2.0, 2.0) == 0.0
    assert skill_of(0.0, 2.0) == 1.0
    assert skill_of(3.0, 2.0) == -0.5
    assert math.isnan(skill_of(0.0, 0.0))
    assert math.isnan(skill_of(0.3, NAN))
    running = RunningSkill(4)
    running.add(Difference(1.0), Difference(4.0))
    assert running.add(Difference(1.0), Difference(1.0)).skill == pytest.approx(1 - 2 / 5)
