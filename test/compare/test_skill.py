"""Running skill and surprise of whole streams, with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dino_foresight_ros.compare import (
    Analysis,
    Judgement,
    Moment,
    Prediction,
    SkillMonitor,
    surprise,
)

INTERVAL = 200_000_000
START = 10**18
STEPS = (1, 2)


def world(index: int) -> Analysis:
    """What a model sees in frame `index` of a world that changes."""
    rng = np.random.default_rng(index)
    return Analysis(
        rng.normal(size=(3, 4, 6)).astype(np.float32),
        rng.integers(0, 4, (6, 8)).astype(np.uint8),
        rng.uniform(2, 40, (6, 8)).astype(np.float32),
    )


def play(monitor: SkillMonitor, count: int, predict, name: str = "m") -> list[Judgement]:
    """Play frames; `predict(index, step)` is what step `step` from frame `index` predicts."""
    done = []
    for index in range(count):
        stamp = START + index * INTERVAL
        moment = Moment(stamp, "cam", world(index), INTERVAL, name, depth_is_metric=True)
        steps = [Prediction(k, stamp + k * INTERVAL, 0.2 * k, predict(index, k)) for k in STEPS]
        done += monitor.take(moment, steps)
    return done


def monitor() -> SkillMonitor:
    return SkillMonitor(window=4, tolerance=0.25, max_bytes=10**9)


def test_a_forecast_that_comes_true_has_no_error_and_skill_1():
    judged = play(monitor(), 6, lambda index, step: world(index + step))
    assert len(judged) == 5 + 4
    for judgement in judged:
        assert judgement.forecast == (0.0, 1.0, 0.0)
        assert judgement.skill == judgement.running.skill == 1.0
        assert judgement.copy.feature_error > 0.1
        assert not surprise(judgement).any()


def test_copying_has_skill_0():
    judged = play(monitor(), 6, lambda index, step: world(index))
    for judgement in judged:
        assert judgement.forecast == judgement.copy
        assert judgement.skill == judgement.running.skill == 0.0


def test_every_number_is_what_plain_arithmetic_gives():
    def predict(index: int, step: int) -> Analysis:
        return world(1000 + 10 * index + step)

    judged = play(monitor(), 9, predict)
    by_step = {k: [j for j in judged if j.match.prediction.step == k] for k in STEPS}
    for step, of_step in by_step.items():
        errors, copies = [], []
        for index, judgement in enumerate(of_step):
            came = world(index + step)
            made, copied = predict(index, step), world(index)
            errors.append(np.mean((made.features - came.features) ** 2))
            copies.append(np.mean((copied.features - came.features) ** 2))
            agreed = np.mean(copied.segmentation == came.segmentation)
            off = np.mean(np.abs(made.depth - came.depth) / came.depth)
            assert judgement.forecast.feature_error == pytest.approx(errors[-1], rel=1e-5)
            assert judgement.skill == pytest.approx(1 - errors[-1] / copies[-1], abs=1e-5)
            assert judgement.copy.segmentation_agreement == pytest.approx(agreed)
            assert judgement.forecast.depth_error == pytest.approx(off, rel=1e-5)
            expected = 1 - np.mean(errors[-4:]) / np.mean(copies[-4:])
            assert judgement.running.skill == pytest.approx(expected, abs=1e-5)
            assert judgement.running.forecasts == min(index + 1, 4)


def test_surprise_is_1_on_average_where_forecasts_are_as_far_off_as_copies():
    judged = play(monitor(), 40, lambda index, step: world(1000 + index + step))
    maps = [surprise(j) for j in judged if j.match.prediction.step == 1]
    assert maps[0].shape == (3, 4)
    assert maps[0].dtype == np.float32
    assert np.mean(maps) == pytest.approx(1.0, abs=0.15)


def test_surprise_lights_up_at_the_patch_that_was_not_foreseen():
    def predict(index: int, step: int) -> Analysis:
        features = world(index + step).features.copy()
        features[2, 1] += 3.0
        return Analysis(features)

    judgement = play(monitor(), 5, predict)[-1]
    map_ = surprise(judgement)
    scale = judgement.running.copy.feature_error
    assert map_[2, 1] == pytest.approx(9.0 / scale, rel=1e-4)
    map_[2, 1] = 0
    assert np.abs(map_).max() < 1e-6


def test_in_a_still_world_there_is_no_skill_and_nothing_to_measure_surprise_by():
    still = world(0)
    watched = monitor()
    for index in range(3):
        stamp = START + index * INTERVAL
        step = Prediction(1, stamp + INTERVAL, 0.2, world(7))
        judged = watched.take(Moment(stamp, "cam", still, INTERVAL), [step])
    (judgement,) = judged
    assert judgement.copy.feature_error == 0.0
    assert math.isnan(judgement.skill)
    assert math.isnan(judgement.running.skill)
    assert np.isnan(surprise(judgement)).all()


def test_without_features_classes_and_depth_are_still_measured():
    def predict(index: int, step: int) -> Analysis:
        return Analysis(None, world(index + step).segmentation, world(index + step).depth)

    judgement = play(monitor(), 4, predict)[-1]
    assert math.isnan(judgement.forecast.feature_error)
    assert judgement.forecast[1:] == (1.0, 0.0)
    assert surprise(judgement) is None


def test_features_of_another_size_are_counted_and_not_compared():
    watched = monitor()
    (first, *_) = play(watched, 3, lambda i, k: Analysis(np.zeros((5, 5, 6), np.float32)))
    assert math.isnan(first.forecast.feature_error)
    assert first.copy.feature_error > 0
    assert math.isnan(first.running.copy.feature_error)  # means are of the same frames
    assert watched.counts["size_changed"] == 3


def test_a_recording_that_loops_goes_on_counting_and_another_model_does_not():
    watched = monitor()
    play(watched, 4, lambda index, step: world(index + step))
    play(watched, 4, lambda index, step: world(index))
    assert watched.running()[1].forecasts == 4
    assert 0.0 < watched.running()[1].skill < 1.0
    play(watched, 3, lambda index, step: world(index), name="other")
    assert {step: means.forecasts for step, means in watched.running().items()} == {1: 2, 2: 1}
    assert watched.running()[1].skill == 0.0


def test_the_window_changes_for_every_step():
    watched = monitor()
    play(watched, 6, lambda index, step: world(index))
    watched.window = 2
    assert [means.forecasts for means in watched.running().values()] == [2, 2]
