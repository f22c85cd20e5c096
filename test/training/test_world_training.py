"""Training of world forecasters: clips at random distances, the objective, runs that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drifting_features import ALONE, data, recordings
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from dino_foresight_ros.compare.feature_errors import energy_scores
from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.model.reference.world_tensors import world_from_reference
from dino_foresight_ros.training.data import ClipTiming
from dino_foresight_ros.training.data.timed_clips import timed_row
from dino_foresight_ros.training.feature_clips import TimedFeatureClips
from dino_foresight_ros.training.forecaster_objective import ToFeatures
from dino_foresight_ros.training.forecaster_setup import make_forecaster
from dino_foresight_ros.training.model_parts import load_forecaster
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import ForecasterRecipe
from dino_foresight_ros.training.train_forecaster import train_forecaster
from dino_foresight_ros.training.world_training import WorldObjective

TIMING = ClipTiming(3, (0.05, 0.3), (0.1, 0.8), 0.2)


def recipe(**changes: object) -> ForecasterRecipe:
    values = {
        "kind": "world", "width": 24, "layers": 2, "heads": 2, "rope": (4, 4, 4),
        "context_frames": 3, "query_newest": True, "predict": "residual", "block_scale": 0.5,
        "frame_interval_s": 0.2, "gaps_s": (0.05, 0.3), "horizons_s": (0.1, 0.5), "steps": 6,
        "batch_size": 4, "lr": 0.01, "evaluations": 1, "loggers": (),
    }  # fmt: skip
    return ForecasterRecipe(**(values | changes))  # type: ignore[arg-type]


@given(
    stamps_ms=st.lists(st.integers(1, 400), min_size=4, max_size=40),
    offsets=st.lists(st.floats(0.01, 2.0), min_size=3, max_size=3),
    place=st.floats(0, 1),
)
def test_frames_of_a_clip_rise_and_lie_near_their_instants(
    stamps_ms: list[int], offsets: list[float], place: float
):
    stamps = np.cumsum(stamps_ms) * 1_000_000
    gaps = np.array(offsets)
    row = timed_row(stamps, np.array([-gaps[:2].sum(), -gaps[0], 0.0, gaps[2]]), place)
    assert (np.diff(row) > 0).all()
    assert row[0] >= 0
    assert row[-1] < len(stamps)
    widest = np.diff(stamps).max() / 1e9
    wanted = gaps.sum() * min(1.0, np.ptp(stamps) / 1e9 / gaps.sum())
    if gaps.min() > 2 * widest:  # else frames have to move apart, to be different ones
        assert abs(np.ptp(stamps[row]) / 1e9 - wanted) <= 2 * widest


def test_gaps_and_horizons_are_mixed_as_the_timing_says():
    rng = np.random.default_rng(0)
    drawn = np.array([TIMING.draw(rng) for _ in range(4000)])
    gaps, horizon = np.diff(drawn[:, :3], axis=1), drawn[:, 3]
    nominal = np.isclose(gaps, 0.2).all(axis=1)
    steady = np.isclose(gaps[:, 0], gaps[:, 1]) & ~nominal
    assert nominal.mean() == pytest.approx(0.5, abs=0.03)
    assert steady.mean() == pytest.approx(0.25, abs=0.03)
    assert np.isclose(horizon, 0.2).mean() == pytest.approx(0.5, abs=0.03)
    assert gaps.min() >= 0.05 - 1e-9
    assert gaps.max() <= 0.3 + 1e-9
    assert horizon.min() >= 0.1
    assert horizon.max() <= 0.8
    # As many gaps of a fast camera as of a slow one: in the logarithm they are spread evenly.
    free = np.log(gaps[~nominal].ravel())
    assert free.mean() == pytest.approx(np.log([0.05, 0.3]).mean(), abs=0.05)


def test_items_hold_features_and_when_they_really_were():
    clips = TimedFeatureClips(recordings(2, frames=20, interval_s=0.07), TIMING)
    assert len(clips) == 2 * 17
    for index in range(len(clips)):
        item = clips[index]
        stamps = item["stamps_ns"].numpy()
        assert (np.diff(stamps) > 0).all()
        # The features of these recordings drift by 1/5 per channel and frame.
        frames = item["frames"].float()
        moved = (frames[:, 0, 0, -1] - frames[:, 0, 0, 0]).diff()
        np.testing.assert_allclose(moved, np.diff(stamps) / 0.07e9, atol=0.1)
    before = [clips[index]["stamps_ns"].tolist() for index in range(len(clips))]
    clips.set_epoch(1)
    assert [clips[index]["stamps_ns"].tolist() for index in range(len(clips))] != before
    clips.set_epoch(0)
    assert [clips[index]["stamps_ns"].tolist() for index in range(len(clips))] == before


def test_recordings_that_are_too_short_are_refused():
    long = recordings(2, frames=4)
    least_s = long[0].duration_s
    told = (
        rf"no recording has the 4 frames of a clip .*; give recordings of {least_s:.3g} s or more"
    )
    with pytest.raises(InputError, match=told):
        TimedFeatureClips(recordings(2, frames=3), TIMING)
    assert len(TimedFeatureClips(long, TIMING))
    with pytest.raises(InputError, match=r"give recordings of 0\.6 s or more"):  # of nominal gaps
        TimedFeatureClips(recordings(1, frames=1), TIMING)
    with pytest.raises(InputError, match="no recordings to take clips from"):
        TimedFeatureClips([], TIMING)


def test_the_loss_of_every_frame_is_the_golden_one(golden_dir: Path):
    golden = load_file(golden_dir / "world" / "world_golden.safetensors")
    tensors = load_file(golden_dir / "world" / "world_weights.safetensors")
    config, weights = world_from_reference(tensors, heads=2, rope=(8, 6, 6))
    model = WorldForecaster(config)
    model.load_state_dict(weights)
    stamps_ns = (golden["timestamps_s"].double() * 1e9).round().long()
    batch = {"frames": golden["features"], "stamps_ns": stamps_ns + 1_790_000_000_000_000_000}
    objective = WorldObjective(model, ToFeatures(), recipe(every_frame=True, horizons_s=None))
    torch.testing.assert_close(objective(batch).value, golden["train_loss"][0], rtol=1e-5, atol=0)


def crossing(count: int, height: int = 4, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Clips of a car that drives to the right, then goes straight or turns, equally often.

    Returns:
        Features (count, 4, height, width, 3), 3 in the first channel where the car is; and the
        patches, (2, count) rows and columns, of the last frame if it goes straight, or turns.
    """
    clip = torch.arange(count)
    row, column = torch.randint(height - 1, (count,)), torch.randint(width - 3, (count,))
    frames = torch.zeros(count, 4, height, width, 3)
    for step in range(3):
        frames[clip, step, row, column + step, 0] = 3.0
    straight, turned = torch.stack([row, column + 3]), torch.stack([row + 1, column + 2])
    last = torch.where(torch.rand(count) < 0.5, straight, turned)
    frames[clip, 3, last[0], last[1], 0] = 3.0
    return frames, straight, turned


@pytest.mark.slow
def test_a_car_that_turns_or_goes_straight_is_seen_doing_both():
    torch.manual_seed(0)
    config = WorldConfig(
        channels=3, width=48, layers=2, heads=2, rope=(8, 8, 8), query="noise", noise_std=1.0,
        query_newest=True,
    )  # fmt: skip
    model = WorldForecaster(config)
    model.initialise(0.5)
    objective = WorldObjective(model, ToFeatures(), recipe(loss="mse", query="noise", best_of=6))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    stamps_ns = torch.arange(4).expand(24, -1) * 200_000_000
    for _ in range(160):
        optimiser.zero_grad()
        objective({"frames": crossing(24)[0], "stamps_ns": stamps_ns}).value.backward()
        optimiser.step()
    model.eval().requires_grad_(False)
    model.frame_interval_s = 0.2
    frames, *branches = crossing(64)
    futures = model.forecast(*model.evenly_spaced(frames[:, :3], 1), samples=8)[:, :, 0]
    errors = (futures - frames[:, None, 3]).square().mean(dim=(2, 3, 4))
    of_mean = (futures.mean(dim=1) - frames[:, 3]).square().mean()
    assert errors.amin(dim=1).mean() < 0.25 * of_mean
    clip = torch.arange(64)
    seen = [(futures[clip, :, row, column, 0] > 1.5).any(dim=1) for row, column in branches]
    assert torch.stack(seen).all(dim=0).float().mean() > 0.9


@pytest.mark.slow
def test_futures_drawn_by_noise_differ_as_much_as_they_err_and_the_expected_one_stays():
    """The features step by a constant and by a coin's throw that nothing foretells."""
    torch.manual_seed(0)
    config = WorldConfig(
        channels=6, width=24, layers=2, heads=2, rope=(4, 4, 4), query_newest=True,
        predict="residual", futures="blocks",
    )  # fmt: skip
    model = WorldForecaster(config)
    model.initialise(0.5)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("futures."))

    def thrown(clips: int) -> Tensor:
        context = torch.randn(clips, 1, 3, 4, 6).expand(-1, 3, -1, -1, -1)
        coin = torch.where(torch.rand(clips, 1, 1, 1, 1) < 0.5, -1.0, 1.0)
        return torch.cat([context, context[:, -1:] + coin], dim=1)

    only = recipe(futures="blocks", train_only="futures", draws=4)
    objective = WorldObjective(model, ToFeatures(), only)
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0
    )
    torch.nn.init.normal_(model.out.weight, std=0.2)
    stamps_ns = torch.arange(4).expand(16, -1) * 200_000_000
    model.frame_interval_s = 0.2
    frames = thrown(64)
    asked = model.evenly_spaced(frames[:, :3], 1)
    before = model.forecast(*asked)
    for _ in range(200):
        optimiser.zero_grad()
        objective({"frames": thrown(16), "stamps_ns": stamps_ns}).value.backward()
        optimiser.step()
    model.eval().requires_grad_(False)
    torch.testing.assert_close(model.forecast(*asked), before, rtol=0, atol=0)
    futures = model.forecast(*asked, samples=16)[:, :, 0]
    spread = futures.var(dim=1, correction=0).mean().sqrt()
    error = (futures.mean(dim=1) - frames[:, 3]).square().mean().sqrt()
    assert 0.6 < float(spread / error) < 1.3
    alone = energy_scores(before[:, :, 0].movedim(1, 0), frames[:, 3]).mean()
    assert energy_scores(futures.movedim(1, 0), frames[:, 3]).mean() < 0.8 * alone


@pytest.mark.slow
def test_the_parts_for_futures_alone_are_trained_from_a_run_without(tmp_path: Path):
    train_forecaster(make_forecaster(recipe(), data()), data(), recipe(), tmp_path / "a", ALONE)
    after = recipe(futures="blocks", train_only="futures")
    model = make_forecaster(after, data(), start=tmp_path / "a")
    assert isinstance(model, WorldForecaster)
    assert model.max_samples > 1
    train_forecaster(model, data(), after, tmp_path / "b", ALONE)
    old, (new, part) = load_forecaster(tmp_path / "a")[0], load_forecaster(tmp_path / "b")
    weights = new.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in old.state_dict().items())
    assert part.scores["crps_step_1"] < 0.95 * part.scores["crps_copy_last_step_1"]
    fresh = make_forecaster(after, data(), start=tmp_path / "a").state_dict()
    assert any(not torch.equal(value, weights[name]) for name, value in fresh.items())
    with pytest.raises(UsageError, match="train_only futures needs a forecaster to start from"):
        make_forecaster(after, data())
    drawn = {"query": "noise", "noise_std": 1.0}
    with pytest.raises(BundleError, match="has futures blocks, this run none; give the same"):
        make_forecaster(recipe(**drawn), data(), start=tmp_path / "b")


@pytest.mark.slow
def test_a_run_is_gone_on_with_exactly_and_loads(tmp_path: Path):
    changes = {"ema": 0.9, "evaluations": 3, "schedule": "constant"}
    whole = tmp_path / "whole"
    model = make_forecaster(recipe(**changes), data())
    train_forecaster(model, data(), recipe(**changes), whole, ALONE)
    parted, short = tmp_path / "parted", recipe(**changes, steps=2)
    train_forecaster(make_forecaster(short, data()), data(), short, parted, ALONE)
    full = recipe(**changes)
    train_forecaster(make_forecaster(full, data()), data(), full, parted, ALONE, resume=True)
    (one, part), (other, _) = load_forecaster(whole), load_forecaster(parted)
    assert isinstance(one, WorldForecaster)
    assert part.frame_interval_s == 0.2
    assert part.scores["skill_smooth_l1_step_1"] > 5  # the features drift steadily
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)


def test_a_larger_grid_goes_on_from_a_smaller_one(tmp_path: Path):
    train_forecaster(make_forecaster(recipe(), data()), data(), recipe(), tmp_path, ALONE)
    large = replace(data(), grid=(6, 8))
    model = make_forecaster(recipe(), large, start=tmp_path)
    assert isinstance(model, WorldForecaster)
    assert model.rollout(torch.randn(1, 3, 6, 8, 6), 2).shape == (1, 2, 6, 8, 6)
    masked = recipe(kind="masked", width=24, horizons_s=None)
    with pytest.raises(BundleError, match="is of kind world, this run of kind masked"):
        make_forecaster(masked, data(), start=tmp_path)


def test_every_frame_and_noise_are_trained_and_validated(tmp_path: Path):
    changes = {
        "every_frame": True, "horizons_s": None, "query": "noise", "noise_std": 1.0, "best_of": 2,
        "steps": 2,
    }  # fmt: skip
    made = recipe(**changes)
    train_forecaster(make_forecaster(made, data()), data(), made, tmp_path, ALONE)
    model, part = load_forecaster(tmp_path)
    assert isinstance(model, WorldForecaster)
    assert model.max_samples > 1
    assert np.isfinite(part.scores["smooth_l1_step_1"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frame_interval_s": None}, "kind world needs the interval to validate on"),
        ({"best_of": 4}, "best_of is 4; it needs query noise"),
        ({"every_frame": True}, "leave horizons_s none"),
        ({"train_only": "futures"}, "train_only futures needs --futures, such as --futures blocks"),
        ({"futures": "blocks", "query": "noise"}, "futures blocks is for query learned"),
        ({"draws": 4}, "draws is 4; it needs futures blocks"),
        ({"futures": "blocks", "kind": "masked"}, "futures blocks is for kind world"),
        ({"feature_crop": (2, 2)}, "feature_crop is for kind masked"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes: dict, reason: str):
    with pytest.raises(UsageError, match=reason):
        recipe(**changes)


@pytest.mark.parametrize("name", ["world-tiny", "world-small", "world-paper"])
def test_presets_are_whole(name: str):
    assert resolve_recipe(ForecasterRecipe, name).kind == "world"


def test_the_papers_preset_has_its_size():
    made = resolve_recipe(ForecasterRecipe, "world-paper")
    with torch.device("meta"):
        model = WorldForecaster(
            WorldConfig(channels=1536, width=made.width, layers=made.layers, heads=made.heads)
        )
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1.1e9, rel=0.05)
