"""Encoders of every family behind one contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model import Encoder, EncoderConfig
from dino_foresight_ros.model.encoders import FAMILIES, encoder_config

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3}


def small(family: str = "dinov2-base-reg", size: tuple[int, int] = (56, 84), **fields) -> Encoder:
    torch.manual_seed(0)
    model = fields.pop("model", FAMILIES[family]["model"].split(".")[0])
    values = {k: v for k, v in FAMILIES[family].items() if k not in ("layers", "model")} | fields
    values.setdefault("layers", (0, 3))
    values.setdefault("overrides", SMALL)
    return Encoder(encoder_config(model, size, **values))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_gives_features_per_patch(family: str):
    overrides = dict(SMALL)
    if "giant" in family:
        overrides["mlp_ratio"] = 2.0
    patch = 16 if "patch16" in FAMILIES[family]["model"] else 14
    size = (4 * patch, 6 * patch)
    encoder = small(family, size, overrides=overrides)
    assert encoder.config.patch_size == patch
    features = encoder(torch.randn(2, 3, *size))
    assert features.shape == (2, 4, 6, 2 * 48)
    assert not features.requires_grad


def test_families_carry_their_own_normalisation():
    clip = encoder_config("eva02-base", (56, 84))
    assert clip.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert encoder_config("dinov2-base-reg", (56, 84)).mean == (0.485, 0.456, 0.406)


def test_features_are_the_blocks_outputs_counted_from_zero():
    encoder = small(layers=(0, 2))
    frames = torch.randn(1, 3, 56, 84)
    seen: dict[int, torch.Tensor] = {}
    for index in (0, 2):
        encoder.vit.blocks[index].register_forward_hook(
            lambda _m, _i, out, index=index: seen.update({index: out})
        )
    features = encoder(frames)
    with torch.no_grad():
        expected = [encoder.vit.norm(seen[i])[:, 5:] for i in (0, 2)]
    torch.testing.assert_close(features.flatten(1, 2), torch.cat(expected, dim=-1))


def test_returning_to_a_size_gives_the_same_features():
    """Position embeddings are resampled from the native ones, not from the last size's."""
    encoder = small()
    frames = torch.randn(1, 3, 56, 84)
    before = encoder(frames)
    encoder(torch.randn(1, 3, 112, 42))
    assert torch.equal(encoder(frames), before)


def test_native_weights_survive_use_at_another_size():
    encoder = small(native_image_size=(70, 70))
    before = {name: tensor.clone() for name, tensor in encoder.native_state_dict().items()}
    encoder(torch.randn(1, 3, 56, 84))
    after = encoder.native_state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_mode_does_not_reach_the_frozen_encoder():
    encoder = small(overrides={**SMALL, "drop_path_rate": 0.5})
    frames = torch.randn(1, 3, 56, 84)
    encoder.train()
    assert torch.equal(encoder(frames), encoder(frames))
    assert not any(p.requires_grad for p in encoder.parameters())


def test_preprocessing_matches_a_pillow_pipeline():
    """The reference resizes 8-bit images with Pillow's bilinear filter, then normalises."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((321, 243), Image.Resampling.BICUBIC))
    encoder = small()
    got = encoder.preprocess(image[None])[0]
    resized = np.asarray(Image.fromarray(image).resize((84, 56), Image.Resampling.BILINEAR))
    mean, std = np.array(encoder.config.mean), np.array(encoder.config.std)
    expected = ((resized / 255.0 - mean) / std).transpose(2, 0, 1)
    assert got.shape == (3, 56, 84)
    # One grey level is 1 / (255 * 0.225) = 0.0175 after normalisation.
    assert float(np.abs(got.numpy() - expected).max()) <= 0.02


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.uint8),
        np.zeros((1, 10, 10, 3), np.float32),
        np.zeros((1, 0, 10, 3), np.uint8),
    ],
)
def test_images_of_another_kind_are_refused(images: np.ndarray):
    with pytest.raises(InputError, match="images"):
        small().preprocess(images)


def test_a_size_off_the_patch_grid_is_refused():
    with pytest.raises(InputError, match="not a multiple of the patch size 14"):
        small()(torch.randn(1, 3, 57, 84))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": (1, 4)}, "layer 4 does not exist"),
        ({"layers": (2, 1)}, "rise"),
        ({"model": "vit_unheard_of_patch14"}, "neither a family"),
        ({"overrides": {"embed_dims": 3}}, "refuses"),
        ({"patch_size": 16, "size": (64, 96)}, "does not fit"),
        ({"tokens": "CHW"}, "NLC, NCHW"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields: dict, message: str):
    with pytest.raises(BundleError, match=message):
        small(**fields)


def test_a_configuration_survives_yaml():
    config = encoder_config("sam-base", (64, 96))
    assert EncoderConfig.from_dict(config.to_dict()) == config


def test_a_moved_model_takes_other_image_sizes_in_its_new_number_format():
    encoder = small(layers=(0,))
    encoder(torch.zeros(1, 3, 56, 84))
    encoder.to(torch.bfloat16)
    assert encoder(torch.zeros(1, 3, 84, 84, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_flipped_view_is_preprocessed():
    encoder = small()
    image = np.random.default_rng(0).integers(0, 256, (1, 56, 84, 3), dtype=np.uint8)
    flipped = image[:, :, ::-1]
    assert torch.equal(encoder.preprocess(flipped), encoder.preprocess(flipped.copy()))
