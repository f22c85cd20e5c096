from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.heads import build_head, fuse_batch_norm, head_config
from dino_foresight_ros.model.instance_head import (
    InstanceHead,
    InstanceHeadConfig,
    mask2former_config,
)

pytest.importorskip("transformers", reason="the extra `instances` is not installed")

CONFIG = InstanceHeadConfig(
    outputs=5, channels=(8, 16, 32, 64), width=32, queries=7, encoder_layers=1, decoder_layers=3,
    attention_heads=4, feedforward=48,
)  # fmt: skip


def micro_head(seed: int = 0, embed_dim: int = 24, layers: int = 4) -> InstanceHead:
    torch.manual_seed(seed)
    head = build_head(CONFIG, embed_dim, layers)
    assert isinstance(head, InstanceHead)
    return head.eval()


@pytest.mark.slow
def test_it_gives_what_the_library_gives_on_the_same_maps_and_weights() -> None:
    """The library's whole model, whose backbone's maps the head reads instead of its own."""
    from transformers import Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    settings = mask2former_config(CONFIG)
    settings.backbone_config = backbone
    torch.manual_seed(3)
    model = Mask2FormerForUniversalSegmentation(settings).eval()
    head = micro_head()
    head.pixel_decoder.load_state_dict(model.model.pixel_level_module.decoder.state_dict())
    head.transformer.load_state_dict(model.model.transformer_module.state_dict())
    head.classify.load_state_dict(model.class_predictor.state_dict())
    pixels = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        want = model(pixels, output_auxiliary_logits=True)
        levels = model.model.pixel_level_module.encoder(pixels).feature_maps
        got = head.decode(levels)
        trained = head.train().decode(levels)
    assert torch.equal(got.classes, want.class_queries_logits)
    assert torch.equal(got.masks, want.masks_queries_logits)
    assert got.earlier == ()
    assert len(trained.earlier) == CONFIG.decoder_layers
    for (classes, masks), layer in zip(trained.earlier, want.auxiliary_logits, strict=True):
        assert torch.equal(classes, layer["class_queries_logits"])
        assert torch.equal(masks, layer["masks_queries_logits"])


@pytest.mark.parametrize("layers", [1, 4, 8])
def test_masks_have_four_pixels_per_patch_side_on_any_grid(layers: int) -> None:
    head = micro_head(layers=layers)
    for grid in [(4, 6), (11, 20), (3, 5)]:
        raw = head(torch.randn(2, *grid, 24 * layers))
        assert raw.classes.shape == (2, 7, 6)
        assert raw.shape == raw.masks.shape == (2, 7, 4 * grid[0], 4 * grid[1])


def test_a_batch_gives_what_its_pictures_give_and_is_picked_from() -> None:
    head, features = micro_head(), torch.randn(3, 4, 6, 96)
    with torch.inference_mode():
        whole, one = head(features), head(features[2:])
    picked = whole[[2, 0]]
    assert len(whole) == 3
    assert len(picked) == 2
    torch.testing.assert_close(picked.masks[:1], one.masks, rtol=0, atol=1e-4)
    torch.testing.assert_close(picked.classes[:1], one.classes, rtol=0, atol=1e-4)
    assert whole.clone().masks.data_ptr() != whole.masks.data_ptr()


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    again, other = micro_head(1).state_dict(), micro_head(2).state_dict()
    for name, tensor in micro_head(1).state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, again[name]), name
    for name in ("queries_features", "queries_embedder"):  # as in Mask2Former's own code
        assert again[f"transformer.{name}.weight"].std() == pytest.approx(1.0, abs=0.2)
    assert not torch.equal(
        again["transformer.queries_features.weight"], other["transformer.queries_features.weight"]
    )


def test_folding_batch_norm_leaves_it_as_it_is() -> None:
    head, features = micro_head(), torch.randn(1, 4, 6, 96)
    with torch.inference_mode():
        before = head(features)
        after = fuse_batch_norm(head)(features)
    assert torch.equal(before.masks, after.masks)


def test_its_configuration_survives_a_file() -> None:
    again = head_config(CONFIG.to_dict())
    assert again == CONFIG


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"width": 48}, "multiple of 32"),
        ({"attention_heads": 5}, "splits into 5"),
        ({"queries": 65536}, "mono16"),
        ({"queries": 0}, "1 to 65535"),
        ({"decoder_layers": 0}, "decoder_layers is 0"),
        ({"channels": (8, 8, 8)}, "four widths"),
        ({"kind": "dpt"}, "valid: mask2former"),
        ({"batch_norm": True}, "unknown keys"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(BundleError, match=why):
        InstanceHeadConfig.from_dict({**CONFIG.to_dict(), **values})


def test_without_the_library_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.models.mask2former", None)
    with pytest.raises(BundleError, match=r"pip install 'dino_foresight_ros\[instances\]'"):
        build_head(CONFIG, 24, 4)
