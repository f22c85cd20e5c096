"""The golden numbers notice each of the mistakes that an implementation could make.

Each test makes one wrong choice on purpose and shows that the reference's forecast is missed by
far more than the tolerance of test_golden.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from dino_foresight_ros.model import Bundle, Encoder
from dino_foresight_ros.model.forecasters import MaskedForecaster
from dino_foresight_ros.model.forecasters.transformer import Block

CLEARLY_WRONG = 1e-2


def miss(forecaster: MaskedForecaster, golden: dict[str, Tensor]) -> float:
    with torch.inference_mode():
        predicted = forecaster(golden["pca_features"][:, :4])
    return float((predicted - golden["predicted_pca"][:, 4]).abs().max())


@pytest.fixture
def forecaster(reference_bundle: Bundle) -> Any:
    return copy.deepcopy(reference_bundle.forecaster)


def test_swapped_temporal_and_spatial_attention_is_noticed(forecaster: Any, golden: dict):
    for block in forecaster.blocks:
        block.attend_time, block.attend_space = block.attend_space, block.attend_time
        block.norm_time, block.norm_space = block.norm_space, block.norm_time
    assert miss(forecaster, golden) > CLEARLY_WRONG


def test_post_norm_is_noticed(forecaster: Any, golden: dict, monkeypatch: pytest.MonkeyPatch):
    def post_norm(block: Block, x: Tensor, keep: int | None = None) -> Tensor:
        keep = x.shape[1] if keep is None else keep
        (batch, _, height, width, _), rows = x.shape, "(b h w) t d"
        over_time = block.attend_time(
            x,
            lambda t: rearrange(t, f"b t h w d -> {rows}"),
            lambda t: rearrange(t, f"{rows} -> b t h w d", b=batch, h=height, w=width),
            keep,
        )
        x = block.norm_time(x[:, -keep:] + over_time)
        over_space = block.attend_space(
            x, lambda t: t.flatten(2, 3).flatten(0, 1), lambda t: t.view(x.shape)
        )
        x = block.norm_space(x + over_space)
        out: Tensor = block.norm_mlp(x + block.mlp(x))
        return out

    monkeypatch.setattr(Block, "forward", post_norm)
    assert miss(forecaster, golden) > CLEARLY_WRONG


def test_masking_the_wrong_frame_is_noticed(forecaster: Any, golden: dict):
    frames = golden["pca_features"]
    wrong = torch.cat([frames[:, :3], frames[:, 4:], frames[:, 3:4]], dim=1)
    mask = torch.zeros(frames.shape[:-1], dtype=torch.bool)
    mask[:, 3] = True
    with torch.inference_mode():
        predicted = forecaster.reconstruct(wrong, mask)[:, 3]
    assert float((predicted - golden["predicted_pca"][:, 4]).abs().max()) > CLEARLY_WRONG


def test_forgotten_standardisation_is_noticed(reference_bundle: Bundle, golden: dict):
    pca = copy.deepcopy(reference_bundle.pca)
    pca.std.fill_(1.0)
    with torch.inference_mode():
        features = reference_bundle.encoder(golden["frames"][0])
        z = pca.transform(features)[None]
    assert float((z - golden["pca_features"]).abs().max()) > CLEARLY_WRONG


def test_layers_counted_from_one_are_noticed(convert_golden: Callable, golden: dict):
    encoder = convert_golden().encoder
    wrong = Encoder(
        type(encoder.config)(**{**encoder.config.__dict__, "layers": (0, 1, 2)}), encoder.vit
    )
    features = wrong(golden["frames"][0]).flatten(1, 2)
    expected = torch.cat(list(golden["layers"][1:]), dim=-1)
    assert float((features - expected).abs().max()) > CLEARLY_WRONG


def test_layer_norm_left_out_is_noticed(convert_golden: Callable, golden: dict):
    encoder = convert_golden().encoder
    encoder.vit.norm = nn.Identity()
    features = encoder(golden["frames"][0]).flatten(1, 2)
    expected = torch.cat(list(golden["layers"]), dim=-1)
    assert float((features - expected).abs().max()) > CLEARLY_WRONG
