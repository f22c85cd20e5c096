"""The streaming PCA against scikit-learn's, which sees everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.training import pca_fit
from dino_foresight_ros.training.pca_fit import StreamingPCA


def tokens(count: int = 3000, features: int = 40, seed: int = 0) -> torch.Tensor:
    """Correlated values whose means are up to 10,000 times their standard deviation."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, features)) * 1.3 ** -np.arange(features)
    mixed = mixed @ rng.normal(size=(features, features))
    mixed = mixed / mixed.std(axis=0)
    mixed = mixed * rng.uniform(0.01, 3, features) + 30 * rng.normal(size=features)
    mixed[:, 0] += 100
    return torch.from_numpy(mixed)


def fitted(pieces: list[torch.Tensor], **wanted: object) -> tuple:
    pca = StreamingPCA(pieces[0].shape[1])
    for piece in pieces:
        pca.update(piece)
    return pca.fit(**wanted)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [1, 77, 100_000])
def test_it_matches_scikit_learn_on_the_standardised_data(
    piece: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pca_fit, "CHUNK", 500)
    monkeypatch.setattr(pca_fit, "BLOCK", 16)
    data = tokens()
    pca, spectrum = fitted(list(data.split(piece)), channels=12)
    from sklearn import decomposition, preprocessing

    scaler = preprocessing.StandardScaler().fit(data.numpy())
    reference = decomposition.PCA(40).fit(scaler.transform(data.numpy()))
    angles = subspace_angles(pca.components.double().numpy().T, reference.components_[:12].T)
    assert angles.max() < 1e-3
    ratios = spectrum.ratios.numpy()
    np.testing.assert_allclose(ratios, reference.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(pca.explained_variance_ratio, ratios[:12], rtol=1e-6)
    np.testing.assert_allclose(pca.mean, scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(pca.std, scaler.scale_, rtol=1e-6)
    ours = pca.transform(data.float()).double().numpy()
    theirs = reference.transform(scaler.transform(data.numpy()))[:, :12]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=0.02)


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 299), max_size=6, unique=True),
    shift=st.sampled_from([0.0, 1e3, 1e6]),
    chunk=st.integers(2, 400),
)
def test_moments_do_not_depend_on_how_tokens_come_in(cuts: list[int], shift: float, chunk: int):
    data = tokens(300, 5, seed=1) + shift
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pca_fit, "CHUNK", chunk)
        pca = StreamingPCA(5)
        for piece in np.split(data, sorted(cuts)):
            pca.update(piece)
        mean, covariance = pca.moments()
    np.testing.assert_allclose(mean, data.numpy().mean(axis=0), rtol=1e-12)
    expected = np.cov((data - data.mean(dim=0)).numpy().T, bias=True)
    # What float64 itself loses of a deviation beside the shift.
    np.testing.assert_allclose(covariance, expected, atol=1e-9 + 1e-15 * shift**2 * 1e-3)


def test_a_mean_ten_million_times_the_deviation_loses_nothing():
    rng = np.random.default_rng(3)
    data = torch.from_numpy(rng.normal(size=(5000, 3)) * 1e-3 + 1e4)
    pca = StreamingPCA(3)
    for piece in data.split(97):
        pca.update(piece)
    expected = data.numpy().std(axis=0)
    np.testing.assert_allclose(pca.moments()[1].diagonal().sqrt(), expected, rtol=1e-6)


def test_values_that_never_vary_stay_out_and_come_back_as_their_mean():
    data = tokens(500, 6)
    data[:, 2], data[:, 4] = 7.25, 0.0
    pca, spectrum = fitted([data.float()], channels=4)
    assert spectrum.constant.tolist() == [False, False, True, False, True, False]
    assert bool((pca.components[:, [2, 4]] == 0).all())
    back = pca.inverse(pca.transform(data.float()))
    np.testing.assert_allclose(back[:, 2], 7.25)
    np.testing.assert_allclose(back, data, atol=0.02)


def test_no_more_channels_than_values_that_vary():
    data = tokens(500, 6)
    data[:, 2] = 1.0
    assert fitted([data], keep=1.0)[0].channels == 5
    with pytest.raises(UsageError, match="channels is 6; it must be 1 to 5"):
        fitted([data], channels=6)


def test_the_share_to_keep_chooses_the_fewest_channels():
    data = tokens()
    pca, spectrum = fitted([data], keep=0.9)
    assert spectrum.kept(pca.channels) >= 0.9 > spectrum.kept(pca.channels - 1)
    assert fitted([data], keep=1.0)[0].channels <= 40


def test_components_have_a_definite_sign():
    pca, _ = fitted([tokens()], channels=12)
    for row in pca.components:
        assert row[row.abs().argmax()] > 0


@pytest.mark.parametrize(
    ("data", "wanted", "error", "message"),
    [
        (torch.ones(50, 3), {"channels": 2}, InputError, "do not vary at all"),
        (torch.rand(1, 3), {"channels": 2}, InputError, "1 tokens are too few"),
        (torch.rand(3, 3), {"channels": 3}, InputError, "3 tokens cannot give 3 components"),
        (torch.rand(9, 3), {"channels": 4}, UsageError, "channels is 4; it must be 1 to 3"),
        (torch.rand(9, 3), {"keep": 1.2}, UsageError, "the share of variance to keep is 1.2"),
        (torch.rand(9, 3), {}, UsageError, "either the number of channels or the share"),
        (torch.full((9, 3), torch.nan), {"channels": 2}, InputError, "NaN or infinity"),
        (torch.rand(9, 3, 3), {"channels": 2}, InputError, r"shape \(9, 3, 3\), expected"),
    ],
)
def test_what_cannot_be_fitted_is_refused(data, wanted, error, message: str):
    with pytest.raises(error, match=message):
        fitted([data], **wanted)
