"""Encoders of every family behind one contract."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import timm
import torch
from micro_bundle import make_micro_bundle
from PIL import Image

from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model import (
    Bundle,
    Encoder,
    EncoderConfig,
    MaskedConfig,
    MaskedForecaster,
)
from dino_foresight_ros.model.dpt import HeadConfig
from dino_foresight_ros.model.encoder import build_backbone
from dino_foresight_ros.model.encoders import FAMILIES, encoder_config
from dino_foresight_ros.model.heads import build_head
from dino_foresight_ros.model.pca import IdentityPCA
from dino_foresight_ros.model.tasks import NormalsTask
from dino_foresight_ros.model.weights import empty, load_strict

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3}


def small(family: str = "dinov2-base-reg", size: tuple[int, int] = (56, 84), **fields) -> Encoder:
    torch.manual_seed(0)
    model = fields.pop("model", FAMILIES[family]["model"].split(".")[0])
    values = {k: v for k, v in FAMILIES[family].items() if k not in ("layers", "model")} | fields
    values.setdefault("layers", (0, 3))
    values.setdefault("overrides", SMALL)
    return Encoder(encoder_config(model, size, **values))


VITS = sorted(name for name, row in FAMILIES.items() if "patch" in row["model"])


@pytest.mark.parametrize("family", VITS)
def test_every_family_gives_features_per_patch(family: str):
    overrides = dict(SMALL)
    if "giant" in family:
        overrides["mlp_ratio"] = 2.0
    patch = 16 if "patch16" in FAMILIES[family]["model"] else 14
    size = (4 * patch, 6 * patch)
    encoder = small(family, size, overrides=overrides)
    assert encoder.config.patch_size == patch
    frames = torch.randn(2, 3, *size)
    features = encoder(frames)
    assert features.shape == (2, 4, 6, 2 * 48)
    assert not features.requires_grad
    # From a file: built without drawing weights, with rotary frequencies, which no file has.
    state = torch.get_rng_state()
    read = empty(lambda: build_backbone(encoder.config))
    load_strict(read, encoder.native_state_dict(), family)
    assert not any(tensor.is_meta for tensor in (*read.parameters(), *read.buffers()))
    assert torch.equal(Encoder(encoder.config, read)(frames), features)
    has_all = all(name in read.state_dict() for name, _ in read.named_buffers())
    assert torch.equal(torch.get_rng_state(), state) == has_all


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


@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet50", "convnext-base"])
def test_convolutional_families_give_their_maps_on_one_grid(family: str):
    row = FAMILIES[family]
    model = {"resnet50": "resnet18", "convnext-base": "convnext_atto"}[family]
    encoder = Encoder(encoder_config(model, (64, 96), layers=row["layers"]))
    assert encoder_config(family, (64, 96)).kind == encoder.config.kind == "feature_maps"
    frames = torch.randn(2, 3, 64, 96)
    features = encoder(frames)
    with torch.no_grad():
        plain = timm.create_model(model, features_only=True, out_indices=row["layers"]).eval()
        plain.load_state_dict(encoder.vit.stages.state_dict())
        fine, same, coarse = plain(frames)
    # Strides 8, 16 and 32 on a grid of 16: four values averaged, as they are, and interpolated.
    averaged = fine.unflatten(2, (4, 2)).unflatten(4, (6, 2)).mean(dim=(3, 5))
    stretched = torch.nn.functional.interpolate(coarse, (4, 6), mode="bilinear")
    expected = torch.cat([averaged, same, stretched], dim=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-3)
    assert (encoder.layers, encoder.embed_dim) == (1, expected.shape[-1])
    assert encoder.config.grid == (4, 6)


def test_stages_that_a_network_lacks_are_refused():
    with pytest.raises(BundleError, match=r"no feature maps \[2, 9\] of 'resnet18'"):
        Encoder(encoder_config("resnet18", (64, 96), layers=(2, 9)))


@pytest.mark.slow
def test_a_network_without_patches_goes_through_a_bundle(tmp_path):
    bundle = make_micro_bundle()
    size = tuple(16 * side for side in bundle.grid)
    encoder = Encoder(encoder_config("resnet18", size, layers=(2, 3)))
    pca = IdentityPCA(encoder.feature_size)
    config = MaskedConfig(encoder.feature_size, bundle.grid, width=24, layers=1, heads=2)
    head = build_head(HeadConfig(3, channels=(8, 8, 8, 8), width=8), encoder.embed_dim, 1)
    made = Bundle(
        "resnet", encoder, pca, MaskedForecaster(config), {"normals": head},
        {"normals": NormalsTask()}, 0.2,
    )  # fmt: skip
    again = Bundle.load(made.save(tmp_path / "made"))
    frames = torch.randn(1, 3, *size)
    torch.testing.assert_close(again.encoder(frames), encoder(frames))
    assert again.heads["normals"](again.encoder(frames)).shape[:2] == (1, 3)


def test_the_vae_gives_the_mean_of_its_latents():
    diffusers = pytest.importorskip("diffusers", reason="needs the extra diffusers")
    overrides = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
    row = {key: value for key, value in FAMILIES["sd-vae"].items() if key != "model"}
    config = encoder_config("sd-vae", (64, 96), overrides=overrides)
    assert config.to_dict()["kind"] == row["kind"] == "vae"
    torch.manual_seed(0)
    encoder = Encoder(config)
    frames = torch.randn(2, 3, 64, 96)
    features = encoder(frames)
    assert features.shape == (2, 8, 12, 4)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4}
    blocks["up_block_types"] = ("UpDecoderBlock2D",) * 4
    whole = diffusers.AutoencoderKL(latent_channels=4, **blocks, **overrides).eval()
    whole.encoder.load_state_dict(encoder.vit.encoder.state_dict())
    whole.quant_conv.load_state_dict(encoder.vit.quant_conv.state_dict())
    with torch.no_grad():
        expected = whole.encode(frames).latent_dist.mean
    torch.testing.assert_close(features.permute(0, 3, 1, 2), expected)


def test_a_vae_without_diffusers_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(BundleError, match=r"pip install 'dino_foresight_ros\[diffusers\]'"):
        Encoder(encoder_config("sd-vae", (64, 96)))
