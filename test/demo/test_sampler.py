from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_foresight_ros.demo.sampler import CameraSets, EvenSampler, is_whole
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

PICTURE = np.zeros((4, 8, 3), np.uint8)


def forecast(stamp_ns: int, arrived: bool = True) -> ComparedForecast:
    came = Scene(0, image=PICTURE) if arrived else None
    step = ComparedStep(Scene(0, step=1, horizon_s=0.2), came)
    return ComparedForecast(Scene(stamp_ns, image=PICTURE), (step,))


@pytest.mark.slow
@settings(deadline=None)
@given(count=st.integers(0, 3000), wanted=st.integers(1, 5))
def test_kept_forecasts_are_few_and_spread_over_the_run(count: int, wanted: int) -> None:
    sampler = EvenSampler(is_whole, capacity=12)
    for index in range(count):
        sampler.add(forecast(index))
    kept = sampler.kept()
    assert len(kept) <= 12
    chosen = [kept[place].newest.stamp_ns for place in sampler.choose(wanted)]
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, wanted)
    if count > 100 and wanted > 1:
        gaps = np.diff(chosen)
        assert gaps.min() > 0.3 * count / wanted


def test_forecasts_whose_instants_all_came_are_preferred() -> None:
    sampler = EvenSampler(is_whole, capacity=12)
    for index in range(8):
        sampler.add(forecast(index, arrived=index < 4))
    assert sampler.choose(3) == [0, 2, 3]
    assert len(sampler.choose(6)) == 6


def test_a_set_has_one_forecast_of_each_camera() -> None:
    sets = CameraSets(3)
    made = [sets.add(name, forecast(i)) for i in range(4) for name in ("left", "front", "right")]
    whole = [one for one in made if one is not None]
    assert len(whole) == 4
    for number, one in enumerate(whole):
        assert {name: m.newest.stamp_ns for name, m in one.items()} == dict.fromkeys(
            ("left", "front", "right"), number
        )


def test_a_camera_that_is_missing_does_not_hold_up_the_others() -> None:
    sets = CameraSets(3)
    made = [sets.add(name, forecast(i)) for i in range(4) for name in ("left", "front")]
    whole = [one for one in made if one is not None]
    assert len(whole) == 3
    assert all(set(one) == {"left", "front"} for one in whole)
    assert [one["left"].newest.stamp_ns for one in whole] == [0, 1, 2]
