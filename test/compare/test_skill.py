"""Running skill and surprise of whole streams, with known answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dino_foresight_ros.compare import AnalysedFrame, Comparison, Difference, SkillMonitor
from dino_foresight_ros.scene import Scene

INTERVAL = 200_000_000
START = 10**18
STEPS = (1, 2)


def world(index: int) -> Scene:
    """What a model sees in frame `index` of a world that changes."""
    rng = np.random.default_rng(index)
    return Scene(
        START + index * INTERVAL,
        features=rng.normal(size=(3, 4, 6)).astype(np.float32),
        segmentation=rng.integers(0, 4, (6, 8)).astype(np.uint8),
        depth=rng.uniform(2, 40, (6, 8)).astype(np.float32),
        depth_is_metric=True,
    )


def predicted(scene: Scene, index: int, step: int) -> Scene:
    """The same as a prediction of a step from a frame."""
    return replace(scene, stamp_ns=START + (index + step) * INTERVAL, step=step)


def play(monitor: SkillMonitor, count: int, predict, name: str = "m") -> list[Comparison]:
    """Play frames; `predict(index, step)` is what step `step` from frame `index` predicts."""
    done = []
    for index in range(count):
        frame = AnalysedFrame(world(index), "cam", INTERVAL, name)
        done += monitor.take(frame, [predicted(predict(index, k), index, k) for k in STEPS])
    return done


def monitor() -> SkillMonitor:
    return SkillMonitor(window=4, tolerance=0.25, max_bytes=10**9)


def test_a_forecast_that_comes_true_has_no_error_and_skill_1():
    compared = play(monitor(), 6, lambda index, step: world(index + step))
    assert len(compared) == 5 + 4
    for comparison in compared:
        assert comparison.forecast == Difference(0.0, 1.0, 0.0)
        assert comparison.skill == comparison.running.skill == 1.0
        assert comparison.copy.feature_error > 0.1
        assert not comparison.surprise().any()


def test_copying_has_skill_0():
    compared = play(monitor(), 6, lambda index, step: world(index))
    for comparison in compared:
        assert comparison.forecast == comparison.copy
        assert comparison.skill == comparison.running.skill == 0.0


def test_every_number_is_what_plain_arithmetic_gives():
    def predict(index: int, step: int) -> Scene:
        return world(1000 + 10 * index + step)

    compared = play(monitor(), 9, predict)
    by_step = {k: [j for j in compared if j.predicted.step == k] for k in STEPS}
    for step, of_step in by_step.items():
        errors, copies = [], []
        for index, comparison in enumerate(of_step):
            came = world(index + step)
            made, copied = predict(index, step), world(index)
            errors.append(np.mean((made.features - came.features) ** 2))
            copies.append(np.mean((copied.features - came.features) ** 2))
            agreed = np.mean(copied.segmentation == came.segmentation)
            off = np.mean(np.abs(made.depth - came.depth) / came.depth)
            assert comparison.forecast.feature_error == pytest.approx(errors[-1], rel=1e-5)
            assert comparison.skill == pytest.approx(1 - errors[-1] / copies[-1], abs=1e-5)
            assert comparison.copy.segmentation_agreement == pytest.approx(agreed)
            assert comparison.forecast.depth_error == pytest.approx(off, rel=1e-5)
            expected = 1 - np.mean(errors[-4:]) / np.mean(copies[-4:])
            assert comparison.running.skill == pytest.approx(expected, abs=1e-5)
            assert comparison.running.forecasts == min(index + 1, 4)


def test_surprise_is_1_on_average_where_forecasts_are_as_far_off_as_copies():
    compared = play(monitor(), 40, lambda index, step: world(1000 + index + step))
    maps = [j.surprise() for j in compared if j.predicted.step == 1]
    assert maps[0].shape == (3, 4)
    assert maps[0].dtype == np.float32
    assert np.mean(maps) == pytest.approx(1.0, abs=0.15)


def test_surprise_lights_up_at_the_patch_that_was_not_foreseen():
    def predict(index: int, step: int) -> Scene:
        features = world(index + step).features.copy()
        features[2, 1] += 3.0
        return Scene(0, features=features)

    comparison = play(monitor(), 5, predict)[-1]
    map_ = comparison.surprise()
    scale = comparison.running.copy.feature_error
    assert map_[2, 1] == pytest.approx(9.0 / scale, rel=1e-4)
    map_[2, 1] = 0
    assert np.abs(map_).max() < 1e-6


def test_in_a_still_world_there_is_no_skill_and_nothing_to_measure_surprise_by():
    watched = monitor()
    for index in range(3):
        still = replace(world(0), stamp_ns=START + index * INTERVAL)
        step = predicted(world(7), index, 1)
        compared = watched.take(AnalysedFrame(still, "cam", INTERVAL), [step])
    (comparison,) = compared
    assert comparison.copy.feature_error == 0.0
    assert math.isnan(comparison.skill)
    assert math.isnan(comparison.running.skill)
    assert np.isnan(comparison.surprise()).all()


def test_without_features_classes_and_depth_are_still_measured():
    def predict(index: int, step: int) -> Scene:
        return replace(world(index + step), features=None)

    comparison = play(monitor(), 4, predict)[-1]
    assert math.isnan(comparison.forecast.feature_error)
    assert comparison.forecast[1:3] == (1.0, 0.0)
    assert comparison.surprise() is None


def test_features_of_another_size_are_counted_and_not_compared():
    watched = monitor()
    (first, *_) = play(watched, 3, lambda i, k: Scene(0, features=np.zeros((5, 5, 6), np.float32)))
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


def test_a_frame_that_comes_twice_counts_once():
    watched = monitor()
    for index in (0, 0, 1, 1):
        frame = AnalysedFrame(world(index), "cam", INTERVAL)
        compared = watched.take(frame, [predicted(world(index + 1), index, 1)])
        assert len(compared) <= 1
    assert watched.counts["compared"] == 1
    assert watched.matcher.pending == 1


def test_another_model_starts_anew():
    watched = monitor()
    play(watched, 1, lambda index, step: world(index), name="a")
    assert play(watched, 1, lambda index, step: world(index), name="b") == []
    assert watched.matcher.dropped == {"model_changed": 2}
