"""Checkpoints of DINO-world's predictor to bundles, with and without an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from safetensors.torch import load_file, save_file

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle, WorldConfig, WorldForecaster
from dino_foresight_ros.model.encoder import Encoder, EncoderConfig
from dino_foresight_ros.model.reference.world_conversion import convert_world

SHAPE = ["--predictor-heads", "2", "--rope", "8,6,6"]


@pytest.fixture(scope="module")
def weights(golden_dir: Path) -> Path:
    return golden_dir / "world" / "world_weights.safetensors"


def dinov3(channels: int) -> Encoder:
    """A DINOv3 backbone of random weights and any width."""
    config = EncoderConfig(
        model="vit_small_patch16_dinov3",
        image_size=(48, 80),
        layers=(0, 1),
        patch_size=16,
        overrides={"embed_dim": channels, "depth": 2, "num_heads": 2},
    )
    return Encoder(config)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_without_an_encoder_a_bundle_forecasts_features_that_are_given(
    tmp_path: Path, weights: Path, golden_dir: Path, suffix: str, capsys: pytest.CaptureFixture[str]
):
    source = weights
    if suffix == "pt":
        source = tmp_path / "world.pt"
        torch.save({"state_dict": load_file(weights)}, source)
    out = tmp_path / "bundle"
    assert main(["convert", "--world", str(source), *SHAPE, "--out", str(out)]) == 0
    bundle = Bundle.load(out)
    golden = load_file(golden_dir / "world" / "world_golden.safetensors")
    z, stamps_s = golden["features"][:1], golden["timestamps_s"][:1].double()
    memories = bundle.forecaster.remember(z[:, :4], stamps_s[:, :4])
    ahead_s = (stamps_s[0, 4:] - stamps_s[0, 3]).tolist()
    with torch.inference_mode():
        found = bundle.forecaster.forecast(memories, stamps_s[:, :4], ahead_s)[:, 0]
    torch.testing.assert_close(found[:, 1], golden["direct_frame5"][:1], rtol=0, atol=1e-5)
    assert bundle.pca.transform(z) is z
    assert main(["bundle", "show", str(out)]) == 0
    assert "none; takes features of 32 values per patch" in capsys.readouterr().out
    with pytest.raises(BundleError, match="has no encoder, so it takes no pictures"):
        bundle.encoder.preprocess(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(BundleError, match="has no encoder"):
        _ = bundle.image_size


def test_single_layer_features_of_a_dinov3_backbone_need_no_pca(tmp_path: Path, weights: Path):
    bundle = convert_world(weights, 2, (8, 6, 6), encoder=dinov3(32))
    assert bundle.encoder.config.layers == (1,)
    loaded = Bundle.load(bundle.save(tmp_path / "v3"))
    assert loaded.grid == (3, 5)
    pictures = np.random.default_rng(0).integers(0, 255, (1, 60, 90, 3), dtype=np.uint8)
    with torch.inference_mode():
        z = loaded.pca.transform(loaded.encoder(loaded.encoder.preprocess(pictures)))
        assert loaded.forecaster(z[:, None].expand(-1, 4, -1, -1, -1)).shape == (1, 3, 5, 32)


def test_pca_and_heads_of_dino_foresight_go_with_it(tmp_path: Path, golden_dir: Path):
    """Names of the reimplementation round a predictor of 32 PCA channels."""
    encoder = make_micro_bundle().encoder
    heads = {"segmentation": golden_dir / "head_segm_pca_tiny.ckpt"}
    pca = golden_dir / "dinov2_pca_tiny.pth"
    weights = golden_dir / "world" / "world_weights.safetensors"
    bundle = convert_world(weights, 2, (8, 6, 6), encoder, pca, heads)
    loaded = Bundle.load(bundle.save(tmp_path / "whole"))
    assert loaded.pca.channels == 32
    assert list(loaded.heads) == ["segmentation"]
    assert loaded.encoder.config.layers == (0, 1, 2, 3)


def test_heads_of_64_values_and_rope_of_20_are_taken_when_nothing_is_said(tmp_path: Path):
    theirs = {
        "blocks.0.attend.q": "predictor.blocks.0.attention.q_proj",
        "blocks.0.attend.kv": "predictor.blocks.0.attention.kv_proj",
        "blocks.0.attend.out": "predictor.blocks.0.attention.out_proj",
        "blocks.0.norm_query": "predictor.blocks.0.norm1",
        "blocks.0.norm_mlp": "predictor.blocks.0.norm2",
        "blocks.0.mlp.expand": "predictor.blocks.0.mlp.up_proj",
        "blocks.0.mlp.contract": "predictor.blocks.0.mlp.down_proj",
        "norm": "predictor.norm",
        "out": "predictor.head",
    }
    scales = {"attend": "layer_scale1", "mlp": "layer_scale2"}
    names = {f"{o}.{k}": f"{t}.{k}" for o, t in theirs.items() for k in ("weight", "bias")}
    names |= {
        f"blocks.0.scale_{part}": f"predictor.blocks.0.{theirs}.lambda1"
        for part, theirs in scales.items()
    }
    names["query"] = "q_embed.weight"
    forecaster = WorldForecaster(WorldConfig(channels=6, width=128, layers=1, heads=2))
    state = {names[n]: t.clone() for n, t in forecaster.state_dict().items()}
    state["q_embed.weight"] = state["q_embed.weight"][None]
    save_file(state, tmp_path / "w.safetensors")
    bundle = convert_world(tmp_path / "w.safetensors")
    assert bundle.forecaster.to_dict() == forecaster.to_dict()
    for name, tensor in bundle.forecaster.state_dict().items():
        assert torch.equal(tensor, forecaster.state_dict()[name])


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert main(["convert", *arguments]) == code
    return capsys.readouterr().err


def test_what_cannot_be_converted_is_said_in_a_line(
    tmp_path: Path, weights: Path, golden_dir: Path, capsys: pytest.CaptureFixture[str]
):
    out = ["--out", str(tmp_path / "out")]
    world = ["--world", str(weights)]
    text = refused([*world, *out], capsys, 1)
    assert "width 48 does not split into heads of 64; give --predictor-heads" in text
    text = refused([*world, "--predictor-heads", "2", *out], capsys, 1)
    assert "rope [20, 20, 20] rotates 60 values of a head, which has 24" in text
    forecaster = ["--forecaster", str(golden_dir / "dinof_tiny.ckpt")]
    assert "--rope is for --world" in refused([*forecaster, "--rope", "8,6,6", *out], capsys, 2)
    head = ["--head", f"depth={golden_dir / 'head_depth_pca_tiny.ckpt'}"]
    assert "give --encoder" in refused([*world, *SHAPE, *head, *out], capsys, 1)
    other = str(golden_dir / "encoder_weights.safetensors")
    text = refused(["--world", other, *SHAPE, *out], capsys, 1)
    assert "holds no predictor.blocks.*" in text
    text = refused([*world, *SHAPE, "--encoder", "untrained-tiny", *out], capsys, 1)
    assert "the predictor takes 32 values per patch" in text
    assert not (tmp_path / "out").exists()
