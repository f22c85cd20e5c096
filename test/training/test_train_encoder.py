"""Training an encoder from nothing: samples, losses, and the part that comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_data import keep_painted

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.data.augmentation import ClipAugmentation
from dino_foresight_ros.training.encoder_loading import is_trained, load_encoder
from dino_foresight_ros.training.encoder_objective import angle_loss, log_depth_loss
from dino_foresight_ros.training.encoder_samples import Group, MixedSamples, vary_light

SIZE = (28, 56)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two short drives with labels."""
    return keep_painted(tmp_path_factory.mktemp("drives"), (3, 4), 8, (45, 80), 0.5)


def mixed(data: str, seed: int = 0) -> MixedSamples:
    first, second = open_recordings([data])
    groups = [Group((first,), ("segmentation",), 3.0), Group((second,), ("depth",), 1.0)]
    return MixedSamples(groups, SIZE, ClipAugmentation((0.7, 1.0), 0.5), True, seed)


def test_samples_depend_on_seed_and_number_alone(data: str):
    ahead, other = mixed(data), mixed(data)
    [ahead[i] for i in range(5)]
    for number in (0, 7, 31):
        assert torch.equal(ahead[number]["image"], other[number]["image"])
    assert not torch.equal(mixed(data, 1)[3]["image"], mixed(data)[3]["image"])


def test_groups_are_drawn_by_their_shares_and_lack_labels_they_have_not(data: str):
    samples = mixed(data)
    drawn = [samples[i] for i in range(200)]
    with_classes = [bool((item["segmentation"] != 255).any()) for item in drawn]
    with_depth = [bool(torch.isfinite(item["depth"]).any()) for item in drawn]
    assert all(a != b for a, b in zip(with_classes, with_depth, strict=True))
    assert 130 <= sum(with_classes) <= 170  # three quarters; 4 standard deviations
    assert not any(bool(torch.isfinite(item["normals"]).any()) for item in drawn)


def test_light_varies_but_stays_a_picture():
    image = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (30, 1, 3))
    seen = [vary_light(image, np.random.default_rng(i)) for i in range(40)]
    assert all(v.shape == image.shape and v.dtype == np.uint8 for v in seen)
    assert len({int(v.mean()) for v in seen}) > 15
    correlations = [np.corrcoef(v.mean(2).ravel(), image.mean(2).ravel())[0, 1] for v in seen]
    assert min(correlations) > 0.8  # the scene is still in it


def test_losses_ignore_unknown_pixels_and_vanish_at_the_truth():
    depth = torch.full((1, 4, 4), torch.nan)
    depth[0, 1, 1] = 5.0  # the pixel that half the resolution reads
    raw = torch.full((1, 1, 2, 2), 77.0)
    raw[0, 0, 0, 0] = np.log(5.0)
    assert float(log_depth_loss(raw, depth)) == pytest.approx(0.0, abs=1e-6)
    assert float(log_depth_loss(raw, torch.full((1, 4, 4), torch.nan))) == 0.0
    normals = torch.full((1, 4, 4, 3), torch.nan)
    normals[0, 3, 3] = torch.tensor([0.0, -1.0, 0.0])
    turned = torch.zeros(1, 3, 2, 2)
    turned[0, 2] = 1.0
    assert float(angle_loss(turned, normals)) == pytest.approx(1.0)
    turned[0, :, 1, 1] = torch.tensor([0.0, -3.0, 0.0])
    assert float(angle_loss(turned, normals)) == pytest.approx(0.0, abs=1e-6)


ARGUMENTS = [
    "train", "encoder", "--image-size", "28x56", "--width", "48", "--depth", "4",
    "--heads", "2", "--batch-size", "4", "--workers", "0", "--evaluations", "1", "--device", "cpu",
]  # fmt: skip


@pytest.mark.slow
def test_the_command_leaves_an_encoder_that_other_stages_read(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "encoder"
    arguments = [*ARGUMENTS, "--data", data, "--steps", "3"]
    assert main([*arguments, "--out", str(run)]) == 0
    assert "3 steps" in capsys.readouterr().out
    encoder = load_encoder(str(run))
    assert is_trained(encoder)
    assert encoder.config.layers == (0, 1, 2, 3)
    images = np.zeros((1, 45, 80, 3), np.uint8)
    assert encoder(encoder.preprocess(images)).shape == (1, 2, 4, 4 * 48)
    assert main([*arguments, "--out", str(run)]) == 1
    assert "--resume" in capsys.readouterr().err
    twin = tmp_path / "twin"
    assert main([*arguments, "--out", str(twin)]) == 0
    for name, tensor in encoder.vit.state_dict().items():
        assert torch.equal(tensor, load_encoder(str(twin)).vit.state_dict()[name])


@pytest.mark.slow
def test_training_lowers_the_loss(data: str, tmp_path: Path):
    run = tmp_path / "encoder"
    arguments = [*ARGUMENTS, "--data", data, "--batch-size", "6", "--steps", "40", "--lr", "3e-3"]
    assert main([*arguments, "--out", str(run)]) == 0
    lines = (run / "history.jsonl").read_text().splitlines()
    losses = [float(line.split('"loss": ')[1].split(",")[0]) for line in lines if '"loss"' in line]
    assert losses[-1] < 0.7 * losses[0]


def test_other_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], shared_dir):
    data = f"camvid:{shared_dir}/data/camvid?split=train"
    assert main([*ARGUMENTS, "--data", data, "--steps", "1", "--out", str(tmp_path / "e")]) == 1
    assert "classes=world" in capsys.readouterr().err


def test_data_without_labels_is_refused(tmp_path: Path):
    from dino_foresight_ros.training.recipes import EncoderRecipe
    from dino_foresight_ros.training.train_encoder import training_groups

    video = tmp_path / "folder"
    video.mkdir()
    import cv2

    for i in range(3):
        cv2.imwrite(str(video / f"{i}.png"), np.full((20, 40, 3), 40 * i, np.uint8))
    with pytest.raises(InputError, match="no labels"):
        training_groups(EncoderRecipe(data=(str(video),), steps=1))
