"""Errors by continuous horizon, of forecasters whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drifting_features import CHANNELS, GRID, Pushed, recordings
from torch import Tensor

from dino_foresight_ros.compare.feature_errors import clip_errors, energy_scores
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.forecasters import (
    MaskedConfig,
    MaskedForecaster,
    WorldConfig,
    WorldForecaster,
)
from dino_foresight_ros.training.evaluation.contexts import MOTIONS
from dino_foresight_ros.training.evaluation.instants import (
    HorizonErrors,
    Setting,
    add_samples,
    instants_table,
    score_instants,
    settings_of,
)
from dino_foresight_ros.training.feature_clips import FeatureRecording


def fresh(**changes: object) -> WorldForecaster:
    """Copies the newest frame."""
    values = {
        "channels": CHANNELS, "width": 24, "layers": 1, "heads": 2, "rope": (4, 4, 4),
        "predict": "residual",
    }  # fmt: skip
    forecaster = WorldForecaster(WorldConfig(**(values | changes))).eval()
    forecaster.frame_interval_s = 0.2
    return forecaster


class Extrapolating(WorldForecaster):
    """Right about features that drift steadily, if every frame has its own stamp."""

    def forecast(self, memories, stamps_s, ahead_s, motion=None, samples=1) -> Tensor:
        z = memories[0]
        slope = (z[:, -1] - z[:, 0]) / float(stamps_s[0, -1] - stamps_s[0, 0])
        frames = torch.stack([z[:, -1] + slope * ahead for ahead in ahead_s], dim=1)
        return frames[:, None].expand(-1, samples, *[-1] * 4)


@pytest.mark.slow
def test_copying_has_no_skill_and_a_steady_drift_is_foreseen_whatever_the_context():
    drives = recordings(3, frames=60, interval_s=0.05)
    right = Extrapolating(fresh().config)
    right.frame_interval_s = 0.2
    for setting in settings_of(right, 0.2):
        horizons = (0.05, 0.2, 1.0)
        copied = score_instants(fresh(max_context_age_s=10), drives, setting, horizons, clips=6)
        found = score_instants(right, drives, setting, horizons, clips=6)
        assert found.keys() == copied.keys()
        assert set(found) >= {0.05, 0.2}, setting.name
        for horizon, values in found.items():
            assert values["measured_s"] == pytest.approx(horizon, rel=0.3)
            assert values["skill"]["smooth_l1"] > 90, setting.name
            if setting.feed_back_beyond_s is None:
                assert copied[horizon]["skill"]["smooth_l1"] == pytest.approx(0, abs=1e-4)


def test_contexts_lie_as_the_setting_says():
    rng = np.random.default_rng(0)
    even = Setting(4, 0.2).offsets_s(rng)
    np.testing.assert_allclose(even, [-0.6, -0.4, -0.2, 0])
    drawn = np.array([Setting(4, 0.2, jitter=0.3).offsets_s(rng) for _ in range(200)])
    assert (np.diff(drawn, axis=1) > 0).all()
    assert np.abs(drawn - even).max() == pytest.approx(0.06, abs=0.005)
    holes = np.array([Setting(4, 0.2, missing=0.3).offsets_s(rng) for _ in range(400)])
    # Of three kept frames the last is the k-th: 3 / 0.7 on average.
    assert holes[:, 0].mean() == pytest.approx(-0.2 * 3 / 0.7, rel=0.06)


def test_samples_are_scored_by_their_best_their_energy_and_their_spread():
    torch.manual_seed(0)
    forecaster = fresh(query="noise", noise_std=1.0)
    torch.nn.init.normal_(forecaster.out.weight, std=0.1)
    values = score_instants(forecaster, recordings(2, 40), Setting(), (0.4,), clips=8, samples=4)
    one = values[0.4]
    assert one["skill_of_best"]["smooth_l1"] >= one["skill"]["smooth_l1"] - 5
    assert one["skill_of_best"]["mse"] > one["skill_of_each"]["mse"]
    assert one["energy_score"] > 0
    assert -1 <= one["spread_error_correlation"] <= 1


def test_futures_that_differ_as_they_err_have_a_spread_as_large_as_the_error():
    """Futures and the truth are drawn alike around one mean, each patch by its own scale."""
    generator = torch.Generator().manual_seed(0)
    one, other = HorizonErrors(), HorizonErrors()
    for _ in range(40):
        scale = torch.rand(6, 8, 1, generator=generator) + 0.2
        mean, *drawn = scale * torch.randn(65, 6, 8, 5, generator=generator)
        futures, true = mean + torch.stack(drawn[1:]), mean + drawn[0]
        for found, drawn_apart in ((one, 1.0), (other, 0.1)):
            futures = mean + drawn_apart * (futures - mean)
            errors = clip_errors(futures.mean(dim=0), true).numpy()
            found.clips += 1
            found.forecast += errors
            found.copied += 1.0
            add_samples(found, futures, true, errors)
    values, narrow = one.result(), other.result()
    assert values["spread_over_error"] == pytest.approx(1.0, abs=0.03)
    assert narrow["spread_over_error"] == pytest.approx(0.1, abs=0.01)
    assert values["patch_correlation"] > 0.6
    assert values["within_spread"] > 0.95 > 0.05 > narrow["within_spread"]


def test_the_table_says_how_good_the_best_future_is_and_how_true_the_spread():
    values = {"skill": {"smooth_l1": 20.04}, "skill_of_best": {"smooth_l1": 31.0}}
    row = {"forecaster": "run", "kind": "world", "setting": "4 frames"}
    drawn = row | {"horizons": {"0.5": values | {"spread_over_error": 0.957}}}
    alone = row | {"horizons": {"0.5": {"skill": {"smooth_l1": 20.04}}}}
    first, second = instants_table([drawn, alone]).splitlines()[-2:]
    assert first.endswith("| 20.0 (best 31.0, spread 0.96) |")
    assert second.endswith("| 20.0 |")


def test_energy_score_is_that_of_plain_loops_and_of_one_prediction_its_distance():
    rng = np.random.default_rng(0)
    samples, true = rng.normal(size=(5, 3, 2, 4)), rng.normal(size=(3, 2, 4))

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(np.mean((a - b) ** 2)))

    pairs = [distance(a, b) for i, a in enumerate(samples) for b in samples[i + 1 :]]
    expected = np.mean([distance(a, true) for a in samples]) - np.mean(pairs) / 2
    flat, truth = torch.from_numpy(samples).flatten(1), torch.from_numpy(true).flatten()
    found = float(energy_scores(flat, truth))
    assert found == pytest.approx(expected, rel=1e-5)
    alone = float(energy_scores(flat[:1], truth))
    assert alone == pytest.approx(distance(samples[0], true), rel=1e-5)


def test_recordings_that_are_too_short_are_refused():
    with pytest.raises(InputError, match=r"long enough for 4 frames 0\.2 s apart"):
        score_instants(fresh(), recordings(2, frames=5), Setting(), (0.2,), clips=4)


def test_a_masked_forecaster_is_asked_for_each_multiple_once_at_the_end_of_a_recording():
    drives = recordings(2, frames=19, interval_s=0.1)
    config = MaskedConfig(channels=CHANNELS, grid=GRID, width=24, layers=1, heads=2)
    masked = MaskedForecaster(config).eval()
    masked.frame_interval_s = 0.2
    found = score_instants(masked, drives, Setting(4, 0.2), (0.2, 0.4, 0.8, 1.0), clips=40)
    for horizon, values in found.items():
        assert values["measured_s"] == pytest.approx(horizon, abs=0.05)


class Told(WorldForecaster):
    """Right about features that move by as much as the vehicle, where it is told of that."""

    def forecast(self, memories, stamps_s, ahead_s, motion=None, samples=1) -> Tensor:
        z = memories[0][:, -1:]
        moved = torch.zeros(1, len(ahead_s), 3) if motion is None else motion.float()
        drift = torch.linspace(-0.5, 0.5, CHANNELS)
        return (z + moved[:, :, :1, None, None] * drift)[:, None]


def test_the_true_motion_is_told_apart_from_none_and_from_that_of_another_clip():
    drives = [FeatureRecording(Pushed(seed), GRID) for seed in range(4)]
    told = Told(fresh(motion="blocks").config)
    told.frame_interval_s = 0.2
    skills = {
        motion: score_instants(told, drives, Setting(2, 0.2, motion=motion), (1.0,), clips=40)[1.0]
        for motion in MOTIONS
    }
    assert {values["clips"] for values in skills.values()} == {40}
    true, unknown, another = (skills[motion]["skill"]["smooth_l1"] for motion in MOTIONS)
    assert true > 95
    assert unknown == pytest.approx(0, abs=1e-4)
    assert another < -20
    named = [setting.name for setting in settings_of(told, 0.2, has_motion=True)]
    assert "4 frames 0.2 s apart, true motion, on turns" in named
    assert "4 frames 0.2 s apart, on turns" in named


def test_turns_are_contexts_after_which_the_vehicle_turns():
    straight = [FeatureRecording(Pushed(seed), GRID) for seed in range(3)]
    bend = FeatureRecording(Pushed(3, turn_rps=0.2), GRID)
    setting = Setting(2, 0.2, turns=True)
    with pytest.raises(InputError, match="on turns"):
        score_instants(fresh(), straight, setting, (0.4,), clips=4)
    found = score_instants(fresh(), [*straight, bend], setting, (0.4,), clips=4)
    assert found[0.4]["clips"] == 4
    slow = FeatureRecording(Pushed(3, turn_rps=0.08), GRID)  # 4.6 degrees in 1 s
    with pytest.raises(InputError):
        score_instants(fresh(), [slow], setting, (0.4,), clips=4)
