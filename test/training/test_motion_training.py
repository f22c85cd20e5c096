"""Motion on its way from recordings through stores and clips into a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from box_world import optical_pose
from drifting_features import ALONE, CHANNELS, GRID, MADE_WITH, FakeStored, Pushed

from dino_foresight_ros.cli.train.arguments import recipe_flags
from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model.forecasters import WorldForecaster
from dino_foresight_ros.planar_motion import compose, inverse
from dino_foresight_ros.recordings import PartOfRecording, open_recordings
from dino_foresight_ros.recordings.pixels import open_pixels, write_pixels
from dino_foresight_ros.training.data import ClipAugmentation, ClipDataset, ClipTiming, TimedClips
from dino_foresight_ros.training.feature_clips import (
    FeatureClips,
    FeatureRecording,
    TimedFeatureClips,
)
from dino_foresight_ros.training.forecaster_data import ForecasterData
from dino_foresight_ros.training.forecaster_objective import ToFeatures
from dino_foresight_ros.training.forecaster_setup import make_forecaster
from dino_foresight_ros.training.model_parts import load_forecaster
from dino_foresight_ros.training.recipes import ForecasterRecipe
from dino_foresight_ros.training.train_forecaster import train_forecaster

WORLD = "synthetic:?seeds=3&frames=8&interval=0.2&size=24x40"


def recordings(count: int, knows: bool = True) -> list[FeatureRecording]:
    return [FeatureRecording(Pushed(seed, knows), GRID) for seed in range(count)]


def data(knows: bool = True) -> ForecasterData:
    every = recordings(8, knows)
    return ForecasterData(
        list(every[:6]), list(every[6:]), ToFeatures(), FeatureClips, GRID, CHANNELS, MADE_WITH
    )


def recipe(**changes: object) -> ForecasterRecipe:
    values = {
        "kind": "world", "width": 24, "layers": 2, "heads": 2, "rope": (4, 4, 4),
        "context_frames": 2, "query_newest": True, "predict": "residual", "block_scale": 0.5,
        "frame_interval_s": 0.2, "gaps_s": (0.2, 0.2), "horizons_s": (0.2, 0.4), "steps": 4,
        "batch_size": 16, "lr": 0.01, "evaluations": 1, "loggers": (), "motion": "blocks",
    }  # fmt: skip
    return ForecasterRecipe(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.slow
def test_motion_goes_through_pixel_stores_and_parts(tmp_path: Path):
    world = open_recordings([WORLD])[0]
    write_pixels(world, (24, 40), (), tmp_path)
    kept = open_pixels(tmp_path)[0]
    assert kept.ego is not None
    np.testing.assert_array_equal(kept.ego.world_from_ego, world.ego.world_from_ego)
    np.testing.assert_array_equal(kept.ego.speed_mps, world.ego.speed_mps)
    np.testing.assert_array_equal(kept.base_from_optical, world.base_from_optical)
    part = PartOfRecording(kept, np.array([1, 4, 6]), "part")
    np.testing.assert_allclose(part.ego.between(0, 2), world.ego.between(1, 6))


def test_the_worlds_base_is_level_and_moves_as_fast_as_it_says():
    ego = open_recordings(["synthetic:?seeds=0-1&frames=30&interval=0.1&size=24x40"])[0].ego
    assert np.abs(ego.world_from_ego[:, 2, :2]).max() == 0
    moved = ego.between(np.arange(28), np.arange(2, 30))
    np.testing.assert_allclose(moved[:, 0] / 0.2, ego.speed_mps[1:-1], rtol=0.02, atol=0.05)
    assert np.abs(moved[:, 1]).max() < 0.1 * moved[:, 0].max()


@pytest.mark.parametrize("kind", ["even", "timed"])
def test_clips_tell_the_motion_mirrored_and_backwards(kind: str):
    world = open_recordings([WORLD])
    timing = ClipTiming(2, (0.2, 0.4), (0.2, 0.6), 0.2)

    def clip(**changes: float) -> tuple[dict, list[int]]:
        augmentation = ClipAugmentation(**changes)
        clips: ClipDataset = (
            ClipDataset(world, (0.2,), 2, 1, (24, 40), augmentation)
            if kind == "even"
            else TimedClips(world, timing, (24, 40), augmentation)
        )
        assert "motion" not in clips[2]
        clips.gives_motion = True
        item = clips[2]
        row = [int(i) for i in item["source"].split("frames ")[1].split(", ")]
        return item, row

    for changes, sign in (({}, 1), ({"horizontal_flip": 1.0}, -1), ({"time_flip": 1.0}, 1)):
        item, row = clip(**changes)
        expected = world[0].ego.between(row[:-1], row[1:]) * [1, sign, sign]
        np.testing.assert_allclose(item["motion"], expected, rtol=1e-5)
        assert (item["motion"][:, 0] < 0).all() == ("time_flip" in changes)
    # Back and forth again leads to where one was.
    there, back = world[0].ego.between(2, 5), world[0].ego.between(5, 2)
    np.testing.assert_allclose(compose(there, back), 0, atol=1e-12)
    np.testing.assert_allclose(inverse(there), back, atol=1e-12)


def test_what_a_camera_astern_saw_was_a_drive_backwards():
    ahead, astern = Pushed(1), Pushed(1)
    astern.base_from_optical = optical_pose(yaw_deg=180)
    clips = FeatureClips([FeatureRecording(astern, GRID)], (0.2,), 2, 1)
    clips.gives_motion = True
    item = clips[2]
    row = np.searchsorted(ahead.stamps_ns, item["stamps_ns"].numpy())
    driven = ahead.ego.between(row[:-1], row[1:])
    np.testing.assert_allclose(item["motion"], driven * [-1, 1, 1], atol=1e-6)
    assert np.abs(driven[:, 0]).min() > 0.5


def test_clips_of_recordings_without_motion_say_that_it_is_unknown():
    mixed = [*recordings(1), FeatureRecording(FakeStored("still", 40, 0.2), GRID)]
    clips = TimedFeatureClips(mixed, ClipTiming(2, (0.2, 0.2), None, 0.2))
    clips.gives_motion = True
    assert clips[0]["motion"].isfinite().all()
    assert clips[len(clips) - 1]["motion"].isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["blocks", "film"])
def test_a_training_learns_what_only_the_motion_tells(tmp_path: Path, motion: str):
    wanted = recipe(motion=motion, steps=50)
    model = make_forecaster(wanted, data())
    assert isinstance(model, WorldForecaster)
    assert model.config.motion_scale[0] == pytest.approx(1.2, abs=0.3)
    assert model.motion_speeds[0] >= 5.0
    train_forecaster(model, data(), wanted, tmp_path / "run", ALONE)
    trained, _ = load_forecaster(tmp_path / "run")
    held_out = data().validation[0]
    row = torch.arange(2)
    z = torch.stack([held_out.stored.read([i, i + 1, i + 2]) for i in range(20)]).float()
    moves = torch.from_numpy(held_out.ego.between(np.arange(1, 21), np.arange(2, 22))).float()
    stamps_s = (row * 0.2 - 0.2).double().expand(20, -1)
    with torch.no_grad():
        memories = trained.remember(z[:, :2], stamps_s)
        told = {"true": moves[:, None], "unknown": None, "wrong": -moves[:, None]}
        found = {n: trained.forecast(memories, stamps_s, [0.2], m) for n, m in told.items()}
    errors = {name: float((z[:, 2] - f[:, 0, 0]).abs().mean()) for name, f in found.items()}
    assert errors["true"] < 0.4 * errors["unknown"]
    assert errors["unknown"] < errors["wrong"]


@pytest.mark.slow
def test_the_parts_for_the_motion_alone_are_trained_from_a_run_without(tmp_path: Path):
    before = recipe(motion="none")
    train_forecaster(make_forecaster(before, data()), data(), before, tmp_path / "a", ALONE)
    after = recipe(train_only="motion", steps=6)
    model = make_forecaster(after, data(), start=tmp_path / "a")
    assert model.takes_motion
    train_forecaster(model, data(), after, tmp_path / "b", ALONE)
    old, new = (load_forecaster(tmp_path / run)[0].state_dict() for run in ("a", "b"))
    assert all(torch.equal(new[name], value) for name, value in old.items())
    assert any(name.startswith("motion.") and value.abs().max() > 0 for name, value in new.items())
    whole = recipe(steps=6)
    train_forecaster(
        make_forecaster(whole, data(), start=tmp_path / "a"), data(), whole, tmp_path / "c", ALONE
    )
    tuned = load_forecaster(tmp_path / "c")[0].state_dict()
    assert not torch.equal(tuned["query"], old["query"])


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(InputError, match="of no recording it is known how the vehicle moves"):
        make_forecaster(recipe(), data(knows=False))
    with pytest.raises(UsageError, match="train_only motion needs a forecaster to start from"):
        make_forecaster(recipe(train_only="motion"), data())
    with pytest.raises(UsageError, match="train_only motion needs --motion"):
        recipe(train_only="motion", motion="none")
    with pytest.raises(UsageError, match="motion blocks is for kind world"):
        ForecasterRecipe(steps=1, motion="blocks")


def test_no_motion_can_be_asked_for_by_name():
    given = recipe_flags({"motion": "none", "intervals_s": "none"}, ForecasterRecipe)
    assert given == {"motion": "none", "intervals_s": None}


@pytest.mark.slow
def test_a_start_that_takes_motion_in_another_way_is_refused(tmp_path: Path):
    film = recipe(motion="film")
    train_forecaster(make_forecaster(film, data()), data(), film, tmp_path / "a", ALONE)
    with pytest.raises(BundleError, match="has motion film, this run blocks; give the same"):
        make_forecaster(recipe(), data(), start=tmp_path / "a")
