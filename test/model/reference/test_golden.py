"""The authors' own numbers, reproduced from their files through a converted bundle on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters.sliding import SlidingForecaster

FEATURES, FORECASTS = 1e-5, 1e-4
Golden = dict[str, Tensor]


def distance(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.inference_mode():
        yield


def test_encoder_gives_the_reference_layers(reference_bundle: Bundle, golden: Golden):
    features = reference_bundle.encoder(golden["frames"][0])
    expected = torch.cat(list(golden["layers"]), dim=-1).unflatten(1, (4, 6))
    assert distance(features, expected) <= FEATURES


def test_pca_gives_the_reference_features_and_inverse(reference_bundle: Bundle, golden: Golden):
    features = reference_bundle.encoder(golden["frames"][0])
    assert distance(reference_bundle.pca.transform(features)[None], golden["pca_features"]) <= 1e-5
    inverse = reference_bundle.pca.inverse(golden["pca_features"])
    assert distance(inverse, golden["pca_inverse"]) <= FEATURES


def test_forecast_from_images_matches_the_reference(reference_bundle: Bundle, golden: Golden):
    bundle = reference_bundle
    context = bundle.pca.transform(bundle.encoder(golden["frames"][0, :4]))[None]
    predicted = bundle.forecaster(context)
    assert distance(predicted, golden["predicted_pca"][:, 4]) <= FORECASTS
    reconstructed = bundle.pca.inverse(predicted)
    assert distance(reconstructed, golden["predicted_features"][:, 4]) <= FORECASTS


def test_third_rollout_step_matches_the_reference(reference_bundle: Bundle, golden: Golden):
    predicted = reference_bundle.forecaster.rollout(golden["pca_features"][:, :4], 3)
    features = reference_bundle.pca.inverse(predicted[:, 2])
    assert distance(features, golden["unroll3_features"][:, -1]) <= FORECASTS


@pytest.mark.parametrize(
    ("checkpoint", "key"),
    [
        ("dinof_tiny_window2.ckpt", "window2_predicted_pca"),
        ("dinof_tiny_full.ckpt", "full_predicted_pca"),
    ],
)
def test_attention_variants_match_the_reference(
    convert_golden: Callable[..., Bundle], golden: Golden, checkpoint: str, key: str
):
    forecaster = convert_golden(checkpoint).forecaster
    assert distance(forecaster(golden["pca_features"][:, :4]), golden[key][:, 4]) <= FORECASTS


def test_stretched_positions_match_the_reference(reference_bundle: Bundle, golden: Golden):
    forecaster = copy.deepcopy(reference_bundle.forecaster).resize_grid(8, 12)
    predicted = forecaster(golden["highres_pca_features"][:, :4])
    assert distance(predicted, golden["highres_predicted_pca"][:, 4]) <= FORECASTS


def test_sliding_windows_match_the_reference(reference_bundle: Bundle, golden: Golden):
    sliding = SlidingForecaster(reference_bundle.forecaster, (8, 12))
    predicted = sliding(golden["highres_pca_features"][:, :4])
    assert distance(predicted, golden["sliding_predicted_pca"][:, 4]) <= FORECASTS


@pytest.mark.parametrize(
    ("task", "key", "every"),
    [
        ("segmentation", "head_segm_logits", 1),
        ("normals", "head_normals_logits", 1),
        ("depth", "head_depth_logits_every8", 8),
    ],
)
def test_heads_match_the_reference(
    reference_bundle: Bundle, golden: Golden, task: str, key: str, every: int
):
    raw = reference_bundle.heads[task](golden["predicted_features"][:, 4])
    assert distance(raw[:, ::every], golden[key]) <= FORECASTS


def test_training_pass_predicts_what_the_forecast_does(reference_bundle: Bundle, golden: Golden):
    """The pass over all tokens and the shortened one must agree on the masked frame."""
    frames = golden["pca_features"]
    mask = torch.zeros(frames.shape[:-1], dtype=torch.bool)
    mask[:, -1] = True
    predicted = reference_bundle.forecaster.reconstruct(frames, mask)[:, -1]
    assert distance(predicted, golden["predicted_pca"][:, 4]) <= FORECASTS
    loss = torch.nn.functional.smooth_l1_loss(predicted, frames[:, -1], beta=0.1)
    assert abs(float(loss) - float(golden["loss"])) <= 1e-5
