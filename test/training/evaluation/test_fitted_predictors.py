from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.training.evaluation.fitted_predictors import (
    ALPHAS,
    RidgeSums,
    TokenPredictor,
    changes_of,
    fit_mlp,
    fit_ridge,
    to_maps,
    to_rows,
)
from dino_foresight_ros.training.evaluation.predictors import CopyLast, roll_out

Rows = tuple[np.ndarray, np.ndarray]


def rows(count: int, seed: int) -> Rows:
    """Correlated inputs, far from zero, and noisy outputs."""
    rng = np.random.default_rng(seed)
    x = (
        rng.normal(size=(count, 3)) @ rng.normal(size=(3, 7))
        + 0.1 * rng.normal(size=(count, 7))
        + 5
    )
    true = np.random.default_rng(99).normal(size=(7, 4))
    return x, x @ true + 2 + rng.normal(size=(count, 4))


def ridge(alpha: float) -> Any:  # the import takes half a second
    from sklearn.linear_model import Ridge

    return Ridge(alpha)


def sums_of(x: np.ndarray, y: np.ndarray, pieces: int = 3) -> RidgeSums:
    sums = RidgeSums()
    for part in np.array_split(np.arange(len(x)), pieces):
        sums.add(torch.as_tensor(x[part]), torch.as_tensor(y[part]))
    return sums


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 300.0])
def test_ridge_is_that_of_scikit_learn(alpha: float) -> None:
    x, y = rows(50, 0)
    linear = sums_of(x, y).solve([alpha])[0]

    reference = ridge(alpha).fit(x, y)
    np.testing.assert_allclose(linear.weight, reference.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linear.bias, reference.intercept_, rtol=1e-4, atol=1e-4)


def test_squared_error_from_sums_is_that_of_the_rows() -> None:
    x, y = rows(40, 1)
    linear = sums_of(*rows(30, 2)).solve([1.0])[0]
    want = ((y - ridge(1.0).fit(*rows(30, 2)).predict(x)) ** 2).sum()
    assert sums_of(x, y).squared_error(linear) == pytest.approx(want, rel=1e-4)


def test_penalty_is_the_best_on_validation_rows_refitted_on_all() -> None:
    train, validation = rows(12, 3), rows(6, 4)
    linear, alpha = fit_ridge(sums_of(*train), sums_of(*validation))

    unit = train[0].var(axis=0).mean() * len(train[0])
    errors = {
        factor: (
            (validation[1] - ridge(factor * unit).fit(*train).predict(validation[0])) ** 2
        ).sum()
        for factor in ALPHAS
    }
    best = min(errors, key=lambda factor: errors[factor])
    assert alpha == pytest.approx(best * unit * 18 / 12, rel=1e-6)
    both = [np.concatenate([a, b]) for a, b in zip(train, validation, strict=True)]
    np.testing.assert_allclose(linear.weight, ridge(alpha).fit(*both).coef_, rtol=1e-3, atol=1e-4)


def test_rows_and_maps_keep_every_patch_in_its_place() -> None:
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(2, 4, 3, 5, 6, generator=generator)
    targets = torch.randn(2, 3, 3, 5, 6, generator=generator)

    x = to_rows(context)
    assert x.shape == (2 * 3 * 5, 4 * 6)
    place = 1 * 15 + 2 * 5 + 3  # clip 1, row 2, column 3
    torch.testing.assert_close(x[place], context[1, :, 2, 3].flatten())
    changes = changes_of(context, targets)
    torch.testing.assert_close(changes[place, 6:12], targets[1, 1, 2, 3] - context[1, -1, 2, 3])
    torch.testing.assert_close(to_maps(changes, context), targets)


def test_copy_last_gives_the_newest_frame_at_every_step() -> None:
    context = torch.randn(2, 4, 1, 1, 3)
    copied = CopyLast(3)(context)
    assert copied.shape == (2, 3, 1, 1, 3)
    assert all(torch.equal(copied[:, step], context[:, -1]) for step in range(3))


@pytest.mark.slow
def test_mlp_learns_what_no_linear_map_can() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, generator=generator) * torch.tensor([1.0, 10.0, 0.1]) + 4
    y = ((x[:, :1] - 4).abs() - 0.8).expand(-1, 2) * 100
    model = fit_mlp(x, y, (x[500:], y[500:]), width=32, steps=300, batch=128, seed=0)

    error = float((model(x) - y).square().mean())
    linear = ridge(1e-6).fit(x, y).predict(x)
    assert error < 0.1 * float(((linear - y.numpy()) ** 2).mean())


def test_mlp_is_a_function_of_its_seed() -> None:
    x, y = torch.randn(50, 3), torch.randn(50, 2)
    outputs = [fit_mlp(x, y, None, width=8, steps=20, batch=16, seed=seed)(x) for seed in (1, 1, 2)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_mlp_that_only_harms_stays_copy_last() -> None:
    x, y = torch.randn(50, 3), torch.ones(50, 2)
    model = fit_mlp(x, y, (x, -y), width=8, steps=30, batch=16, seed=0)
    assert torch.equal(model(x), torch.zeros(50, 2))
    predicted = TokenPredictor(model)(torch.randn(1, 3, 2, 2, 1))
    assert predicted.shape == (1, 2, 2, 2, 1)


def test_bundle_without_layer_heads_rolls_out_no_layers(toy_bundle: object) -> None:
    _, hidden = roll_out(toy_bundle(), torch.zeros(1, 4, 2, 3, 4), (1,))  # type: ignore[operator]
    assert hidden == {}
