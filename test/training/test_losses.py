from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.losses import LOSSES, masked_loss
from dino_foresight_ros.training.masking import frame_mask

SHAPE = (2, 3, 4, 5, 6)


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    # Errors on both sides of smooth L1's corner at 0.1.
    target = torch.randn(SHAPE, generator=generator)
    return target + 0.1 * torch.randn(SHAPE, generator=generator), target


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.rand(SHAPE[:-1], generator=torch.Generator().manual_seed(1)) < 0.4


def one_error(kind: str, error: float, beta: float) -> float:
    """The losses' textbook definitions, for one number."""
    size = abs(error)
    if kind == "mse":
        return size * size
    if kind == "l1":
        return size
    return size * size / (2 * beta) if size < beta else size - beta / 2


def test_default_loss_is_the_authors_training_loss(project_root: Path) -> None:
    golden = load_file(project_root / "test/golden/golden.safetensors")
    mask = frame_mask(1, 5, (4, 6))

    loss = masked_loss(golden["predicted_pca"], golden["pca_features"], mask)

    torch.testing.assert_close(loss, golden["loss"], rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("beta", [0.1, 0.02])
def test_loss_is_the_mean_over_the_numbers_of_masked_tokens(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, kind: str, beta: float
) -> None:
    predicted, target = features
    errors = []
    for token in mask.nonzero().tolist():
        for channel in range(SHAPE[-1]):
            index = (*token, channel)
            errors.append(one_error(kind, float(predicted[index] - target[index]), beta))

    loss = masked_loss(predicted, target, mask, kind=kind, beta=beta)

    assert float(loss) == pytest.approx(sum(errors) / len(errors), rel=1e-5)


@pytest.mark.parametrize("kind", LOSSES)
def test_tokens_outside_the_mask_neither_count_nor_learn(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, kind: str
) -> None:
    predicted, target = features
    predicted.requires_grad_()
    spoiled = torch.where(mask[..., None], target, torch.tensor(1e6))

    loss = masked_loss(predicted, target, mask, kind=kind)
    loss.backward()

    assert masked_loss(predicted, spoiled, mask, kind=kind) == loss
    assert predicted.grad is not None
    assert torch.equal(predicted.grad.ne(0).any(dim=-1), mask)


def test_a_mask_of_nothing_gives_zero_loss_and_zero_gradient(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor
) -> None:
    predicted, target = features
    predicted.requires_grad_()

    loss = masked_loss(predicted, target, torch.zeros_like(mask))
    loss.backward()

    assert loss.item() == 0.0
    assert predicted.grad is not None
    assert not predicted.grad.any()


def test_half_precision_features_are_summed_in_float32() -> None:
    # bfloat16 has 8 bits: counted up in it, a sum of ones stops at 256.
    predicted = torch.ones(1, 2, 64, 64, 8, dtype=torch.bfloat16)
    mask = frame_mask(1, 2, (64, 64))

    loss = masked_loss(predicted, predicted + 1.0078125, mask, kind="l1")

    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(1.0, rel=0.01)


def test_unknown_kind_is_refused_with_the_valid_ones(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor
) -> None:
    with pytest.raises(UsageError, match=r"'huber' is unknown; valid: smooth_l1, mse, l1"):
        masked_loss(*features, mask, kind="huber")


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_that_is_not_positive_is_refused(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, beta: float
) -> None:
    with pytest.raises(UsageError, match="beta"):
        masked_loss(*features, mask, beta=beta)


def test_shapes_that_would_broadcast_are_refused(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor
) -> None:
    predicted, target = features
    with pytest.raises(ValueError, match=r"target \(1, 3, 4, 5, 6\)"):
        masked_loss(predicted, target[:1], mask)
    with pytest.raises(ValueError, match="mask is"):
        masked_loss(predicted, target, mask[:1])


def test_a_mask_of_numbers_is_refused_because_it_would_pick_indices(
    features: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=r"mask is torch\.int64"):
        masked_loss(*features, mask.long())
