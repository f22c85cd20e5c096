from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from drifting_features import ALONE, CHANNELS, GRID, MADE_WITH, FakeStored, data, recordings
from torch import nn

from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model.forecasters import (
    MaskedConfig,
    MaskedForecaster,
    SlidingForecaster,
)
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.training.data import ClipAugmentation, split_recordings
from dino_foresight_ros.training.feature_clips import (
    FeatureClips,
    read_features,
)
from dino_foresight_ros.training.forecaster_data import ForecasterData
from dino_foresight_ros.training.forecaster_objective import ForecasterObjective, ToFeatures
from dino_foresight_ros.training.forecaster_setup import make_forecaster, make_validation_clips
from dino_foresight_ros.training.forecaster_validation import Validation
from dino_foresight_ros.training.intervals import (
    middle,
    nearest_intervals_s,
    resolve_intervals,
)
from dino_foresight_ros.training.losses import masked_loss
from dino_foresight_ros.training.masking import frame_mask, random_windows
from dino_foresight_ros.training.model_parts import load_forecaster
from dino_foresight_ros.training.parts import Origin
from dino_foresight_ros.training.recipes import ForecasterRecipe
from dino_foresight_ros.training.run_log import read_history
from dino_foresight_ros.training.train_forecaster import train_forecaster


def recipe(**changes: object) -> ForecasterRecipe:
    values = {
        "width": 24, "layers": 2, "heads": 2, "dropout": 0.0, "steps": 6, "batch_size": 4,
        "intervals_s": (0.1,), "frame_interval_s": 0.1, "lr": 3e-3, "log_every": 1,
        "evaluations": 2, "precision": "float32",
    }  # fmt: skip
    return ForecasterRecipe(**{**values, **changes})


def test_a_clip_holds_the_features_of_its_frames_in_order() -> None:
    clips = FeatureClips(recordings(2), (0.1, 0.2), 4, 1, seed=5)
    for index in range(len(clips)):
        item = clips[index]
        name, _, rest = item["source"].partition(" frames ")
        rows = [int(word) for word in rest.split(" (")[0].split(", ")]
        assert set(np.diff(rows).tolist()) in ({1}, {2})
        expected = FakeStored(name, 12, seed=int(name[-1])).read(rows)
        assert torch.equal(item["frames"], expected)


def test_clips_of_features_play_backwards() -> None:
    backwards = FeatureClips(recordings(1), (0.1,), 4, 1, ClipAugmentation(time_flip=1.0))

    first = backwards[0]["frames"]
    assert torch.equal(first, FakeStored("drive0", 12).read([4, 3, 2, 1, 0]))


def test_part_of_a_recording_reads_its_own_frames() -> None:
    train, held = split_recordings(recordings(1, frames=40), 0.25, 0, gap_s=0.5)

    stored = FakeStored("drive0", 40)
    assert torch.equal(read_features(held[0], np.array([0, 2])), stored.read([30, 32]))
    assert torch.equal(read_features(train[0], np.array([1])), stored.read([1]))


@pytest.mark.parametrize(
    ("spacing", "frames"),
    [(1 / 17, (2, 3, 4)), (0.1, (1, 2)), (1 / 30, (4, 5, 7)), (0.5, (1,)), (1 / 12, (1, 2, 3))],
)
def test_the_paper_s_intervals_move_to_whole_frames(
    spacing: float, frames: tuple[int, ...]
) -> None:
    found = nearest_intervals_s(recordings(1, 30, spacing))
    assert found == pytest.approx([count * spacing for count in frames], rel=1e-6)
    assert middle((0.1, 0.2)) == 0.2
    assert middle((0.1, 0.2, 0.4)) == 0.2


def forecaster(**changes: object) -> MaskedForecaster:
    values = {"channels": CHANNELS, "grid": GRID, "width": 24, "layers": 2, "heads": 2}
    torch.manual_seed(1)
    model = MaskedForecaster(MaskedConfig(**{**values, "dropout": 0.0, **changes}))
    nn.init.normal_(model.out.weight, std=0.3)
    return model


@pytest.mark.parametrize("schedule", ["full", "linear"])
def test_loss_is_the_masked_loss_of_the_reconstruction(schedule: str) -> None:
    model = forecaster()
    frames = torch.randn(3, 5, *GRID, CHANNELS)
    torch.manual_seed(9)
    found = ForecasterObjective(model, ToFeatures(), mask_schedule=schedule)({"frames": frames})

    torch.manual_seed(9)
    mask = frame_mask(3, 5, GRID, 1, schedule)
    expected = masked_loss(model.reconstruct(frames, mask), frames, mask)
    torch.testing.assert_close(found.value, expected)
    assert float(found.weight) == pytest.approx(float(mask[:, -1].float().mean()))


def test_of_three_masked_frames_each_step_hides_the_last_one_to_three() -> None:
    model = forecaster(masked_frames=3)
    objective = ForecasterObjective(model, ToFeatures())
    frames = torch.randn(2, 7, *GRID, CHANNELS)
    expected = []
    for hidden in (1, 2, 3):
        mask = torch.zeros(2, 7, *GRID, dtype=torch.bool)
        mask[:, 7 - hidden :] = True
        expected.append(masked_loss(model.reconstruct(frames, mask), frames, mask).item())
    seen: set[int] = set()
    for seed in range(12):
        torch.manual_seed(seed)
        found = objective({"frames": frames})
        hidden = round(3 * float(found.weight))
        assert found.value.item() == pytest.approx(expected[hidden - 1], rel=1e-4)
        seen.add(hidden)
    assert seen == {1, 2, 3}


def test_a_window_is_cut_at_random_alike_from_all_frames() -> None:
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(9.0), indexing="ij")
    frames = torch.stack([rows, columns], dim=-1).expand(300, 5, 6, 9, 2)
    corners = set()
    for clip in random_windows(frames, GRID):
        assert torch.equal(clip, clip[:1].expand_as(clip))
        top, left = map(int, clip[0, 0, 0])
        assert torch.equal(clip[0], frames[0, 0, top : top + 3, left : left + 4])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(4) for left in range(6)}
    with pytest.raises(UsageError, match="7x4 patches does not fit features of 6x9"):
        random_windows(frames, (7, 4))


@pytest.mark.slow
def test_windows_of_larger_features_are_trained_on_and_slide_when_validated(
    tmp_path: Path,
) -> None:
    whole = data()
    one = recipe(steps=3, feature_crop=(2, 2), ema=0.0)
    wide = replace(whole, grid=(3, 4))
    with pytest.raises(UsageError, match="feature_crop 4x2 is larger than the patch grid of 3x4"):
        make_forecaster(replace(one, feature_crop=(4, 2)), wide)
    train(tmp_path / "run", one, wide)
    model, part = load_forecaster(tmp_path / "run")
    assert model.config.grid == (2, 2)
    assert part.recipe["feature_crop"] == [2, 2]
    clips = make_validation_clips(resolve_intervals(one, wide.train), wide)
    found = Validation(clips, ToFeatures(), 4, ALONE, most=2, sliding=(3, 4))(model)
    frames = torch.stack([clips[0]["frames"], clips[len(clips) - 1]["frames"]]).float()
    sliding = SlidingForecaster(model, (3, 4))
    error = (sliding.predict(frames[:, :4]) - frames[:, 4:5]).square().mean()
    assert found.values["mse_step_1"] == pytest.approx(float(error.detach()), rel=1e-3)


def test_seven_frames_are_validated_as_they_are_used(tmp_path: Path) -> None:
    train(tmp_path / "run", recipe(steps=2, masked_frames=3), data())
    model, _ = load_forecaster(tmp_path / "run")
    assert model.config.frames == 7
    assert "skill_mse_step_3" in read_history(tmp_path / "run", "validation")[0]
    with pytest.raises(BundleError, match="masked_frames 3, this run 1"):
        make_forecaster(recipe(), data(), tmp_path / "run")


def coded(codes: int = 5) -> MaskedForecaster:
    model = forecaster(predict="codes", codes=codes)
    model.codebook.copy_(torch.randn(codes, CHANNELS))
    return model


@pytest.mark.parametrize("schedule", ["full", "linear"])
def test_loss_of_codes_is_the_cross_entropy_of_the_nearest_centres(schedule: str) -> None:
    model = coded()
    frames = torch.randn(3, 5, *GRID, CHANNELS)
    torch.manual_seed(9)
    found = ForecasterObjective(model, ToFeatures(), mask_schedule=schedule)({"frames": frames})

    torch.manual_seed(9)
    mask = frame_mask(3, 5, GRID, 1, schedule)
    logits, total = model.outputs(frames, mask), 0.0
    for place in mask.nonzero().tolist():
        b, t, y, x = place
        distances = [(frames[b, t, y, x] - centre).norm() for centre in model.codebook]
        code = int(np.argmin([float(one) for one in distances]))
        total -= float(logits[b, t, y, x].log_softmax(-1)[code].detach())
    assert found.value.item() == pytest.approx(total / int(mask.sum()), rel=1e-4)


def test_forecast_of_codes_is_the_likeliest_centre_and_is_fed_back() -> None:
    model = coded().eval()
    context = torch.randn(2, 4, *GRID, CHANNELS)
    with torch.no_grad():
        first, second = model.rollout(context, 2).unbind(1)
        assert torch.equal(second, model(torch.cat([context[:, 1:], first[:, None]], dim=1)))
        blank = torch.cat([context, torch.zeros_like(context[:, :1])], dim=1)
        mask = torch.zeros(blank.shape[:-1], dtype=torch.bool)
        mask[:, 4] = True
        likeliest = model.outputs(blank, mask)[:, 4].argmax(-1)
    assert torch.equal(first, model.codebook[likeliest])


@pytest.mark.slow
def test_codes_are_learnt_and_kept_in_the_part(tmp_path: Path) -> None:
    one = recipe(steps=60, lr=1e-2, predict="codes", codes=24, ema=0.0)
    result = train(tmp_path / "run", one, data(train=12))
    rows = read_history(tmp_path / "run", "train")
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[0]["loss"] == pytest.approx(math.log(24), rel=0.2)  # knows nothing yet
    assert result.best is not None  # type: ignore[attr-defined]
    model, part = load_forecaster(tmp_path / "run")
    assert isinstance(model, MaskedForecaster)
    assert model.codebook.shape == (24, CHANNELS)
    assert part.config["codes"] == 24
    # The centres are of this data: nearer to its patches than their own mean is.
    clips = FeatureClips(recordings(2), (0.1,), 4, 1)
    tokens = torch.cat([clips[i]["frames"].flatten(0, 2) for i in range(4)]).float()
    centred = (tokens - tokens.mean(0)).square().sum(-1).mean()
    nearest = (tokens - model.codebook[model.nearest_codes(tokens)]).square().sum(-1).mean()
    assert nearest < 0.5 * centred


def test_more_codes_than_patches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\d+ codes of \d+ patches: give fewer codes"):
        train(tmp_path / "run", recipe(predict="codes", codes=10**6), data())
    with pytest.raises(BundleError, match="codes takes at least 2, anything else 0"):
        forecaster(predict="features", codes=3)


def test_raw_features_go_through_the_pca() -> None:
    components = torch.linalg.qr(torch.randn(8, CHANNELS))[0].T.contiguous()
    pca = PCA.from_arrays(torch.randn(8), torch.rand(8) + 0.5, torch.randn(8), components)
    raw = torch.randn(2, 5, *GRID, 8).half()
    with torch.autocast("cpu", torch.bfloat16):
        found = ToFeatures(pca)(raw)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pca.transform(raw.float()))


def test_skill_is_the_share_of_copy_last_s_error_that_is_gone() -> None:
    clips = FeatureClips(recordings(2), (0.1,), 4, 2)
    model = forecaster()
    found = Validation(clips, ToFeatures(), 4, ALONE, most=5, batch_size=2)(model.eval())

    indices = [round(i * (len(clips) - 1) / 4) for i in range(5)]
    frames = torch.stack([clips[i]["frames"] for i in indices]).double()
    model = model.double()
    with torch.no_grad():
        predicted = model.rollout(frames[:, :4], 2)
    forecast = (predicted - frames[:, 4:]).square().mean(dim=(0, 2, 3, 4))
    copied = (frames[:, 3:4] - frames[:, 4:]).square().mean(dim=(0, 2, 3, 4))
    for step in (0, 1):
        skill = 100 * (1 - float(forecast[step]) / float(copied[step]))
        assert found.values[f"skill_mse_step_{step + 1}"] == pytest.approx(skill, rel=1e-3)
    assert found.score == pytest.approx(-found.values["smooth_l1_step_1"])


def train(folder: Path, one: ForecasterRecipe, given: ForecasterData, **more: object) -> object:
    one = resolve_intervals(one, given.train)
    model = make_forecaster(one, given)
    return train_forecaster(model, given, one, folder, ALONE, **more)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_run_learns_what_copying_cannot_know_and_leaves_a_part(tmp_path: Path) -> None:
    many = recipe(steps=40, lr=1e-2, predict="residual", ema=0.8)
    result = train(tmp_path / "run", many, data(train=12))

    assert result.best is not None  # type: ignore[attr-defined]
    assert result.best.values["skill_mse_step_1"] > 15  # type: ignore[attr-defined]
    assert result.best.values["skill_mse_step_3"] > 15  # type: ignore[attr-defined]
    model, part = load_forecaster(tmp_path / "run")
    assert part.made_with == MADE_WITH
    assert part.frame_interval_s == 0.1
    assert part.recipe["lr"] == 1e-2
    assert part.scores["skill_mse_step_1"] == result.best.values["skill_mse_step_1"]  # type: ignore[attr-defined]
    # The part is what was scored: the averaged weights at the best step.
    clips = FeatureClips(data(train=12).validation, (0.1,), 4, 3)
    again = Validation(clips, ToFeatures(), 4, ALONE)(model)
    assert again.score == pytest.approx(result.best.score, rel=1e-5)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_second_stage_starts_from_the_first_at_another_grid(tmp_path: Path) -> None:
    small = data()
    train(tmp_path / "one", recipe(), small)
    first, _ = load_forecaster(tmp_path / "one")
    large = replace(small, grid=(6, 8))
    second = make_forecaster(recipe(dropout=0.2), large, tmp_path / "one")

    assert second.config.grid == (6, 8)
    assert second.config.dropout == 0.2
    assert {
        m.dropout for m in second.modules() if isinstance(getattr(m, "dropout", None), float)
    } == {0.2}
    assert all(parameter.requires_grad for parameter in second.parameters())
    assert torch.equal(second.out.weight, first.out.weight)
    # Twice as many rows, linearly between the old ones: pairs of new rows average to the old.
    inner = second.position_row[1:-1].unflatten(0, (-1, 2)).mean(dim=1)
    old = (first.position_row[:-1] + first.position_row[1:]) / 2
    torch.testing.assert_close(inner, old)
    other = replace(large, made_with={**MADE_WITH, "pca": Origin("another fit", "b" * 16)})
    with pytest.raises(BundleError, match=r"'fit'.*'another fit'"):
        make_forecaster(recipe(), other, tmp_path / "one")
    with pytest.raises(BundleError, match="channels 6, this run 7"):
        make_forecaster(recipe(), replace(large, channels=7), tmp_path / "one")


def test_recordings_shorter_than_a_clip_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    written: list[int] = []
    with pytest.raises(InputError, match=r"no clip of 5 .*, in drive0.*; give .* of 0.4 s or"):
        train(tmp_path / "run", recipe(), data(frames=4), on_ready=lambda: written.append(1))
    mixed = replace(data(), validation=list(recordings(1, frames=4)))
    with pytest.raises(InputError, match=r"nothing to validate on: .*give --validation"):
        train(tmp_path / "run", recipe(), mixed, on_ready=lambda: written.append(1))

    assert not written
    assert not (tmp_path / "run").exists()


def test_validation_of_one_step_where_recordings_are_too_short_for_three(tmp_path: Path) -> None:
    short = replace(data(), validation=list(recordings(1, frames=5)))
    train(tmp_path / "run", recipe(steps=2), short)

    rows = read_history(tmp_path / "run", "validation")
    assert "skill_mse_step_1" in rows[0]
    assert "skill_mse_step_2" not in rows[0]
    assert not math.isnan(rows[0]["skill_mse_step_1"])
    assert yaml.safe_load((tmp_path / "run" / "part.yaml").read_text())["scores"]["step"] in (1, 2)
