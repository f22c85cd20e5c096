"""Standardisation and projection."""

from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import PCA, IdentityPCA


def fitted(features: int = 12, channels: int = 5) -> PCA:
    torch.manual_seed(0)
    components = torch.linalg.qr(torch.randn(features, channels))[0].T
    return PCA.from_arrays(
        mean=torch.randn(features),
        std=torch.rand(features) + 0.5,
        centre=torch.randn(features) * 0.1,
        components=components,
    )


def test_transform_undoes_inverse():
    pca = fitted()
    z = torch.randn(2, 3, 5)
    torch.testing.assert_close(pca.transform(pca.inverse(z)), z, atol=1e-5, rtol=1e-5)


def test_all_components_lose_nothing():
    pca = fitted(features=8, channels=8)
    features = torch.randn(4, 8)
    torch.testing.assert_close(pca.inverse(pca.transform(features)), features, atol=1e-5, rtol=1e-4)


def test_each_component_is_the_projection_of_standardised_features():
    pca = fitted()
    feature = torch.randn(12)
    z = pca.transform(feature)
    for i in range(5):
        terms = [
            ((feature[j] - pca.mean[j]) / pca.std[j] - pca.centre[j]) * pca.components[i, j]
            for j in range(12)
        ]
        assert float(z[i]) == pytest.approx(float(sum(terms)), abs=1e-5)


def test_half_precision_survives_channels_with_means_far_above_their_spread():
    """DINOv2 has such channels; standardising them in 8 bits of mantissa would drown them."""
    torch.manual_seed(0)
    pca = fitted()
    pca.mean.fill_(100.0)
    features = 100 + torch.randn(64, 12)
    exact = pca.transform(features)
    pca.set_dtype(torch.bfloat16)
    rounded = pca.transform(features).float()
    assert float((rounded - exact).norm() / exact.norm()) < 2e-2


def test_identity_passes_features_through():
    features = torch.randn(2, 7)
    pca = IdentityPCA(7)
    assert torch.equal(pca.inverse(pca.transform(features)), features)


def test_a_spread_of_zero_is_refused():
    with pytest.raises(BundleError, match="std"):
        PCA.from_arrays(torch.zeros(4), torch.zeros(4), torch.zeros(4), torch.eye(2, 4))


def test_arrays_that_do_not_fit_are_named():
    with pytest.raises(BundleError, match=r"mean has shape \(3,\), expected \(4,\)"):
        PCA.from_arrays(torch.zeros(3), torch.ones(4), torch.zeros(4), torch.eye(2, 4))
