"""What a forecaster is trained to lower: the error of its predictions on masked tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.errors import UsageError

_ERRORS: dict[str, Callable[[Tensor, Tensor, float, str], Tensor]] = {
    "smooth_l1": lambda p, t, beta, way: functional.smooth_l1_loss(p, t, reduction=way, beta=beta),
    "mse": lambda p, t, _, way: functional.mse_loss(p, t, reduction=way),
    "l1": lambda p, t, _, way: functional.l1_loss(p, t, reduction=way),
}
LOSSES = tuple(_ERRORS)


def errors(predicted: Tensor, target: Tensor, kind: str = "smooth_l1", beta: float = 0.1) -> Tensor:
    """Error of each value, of the operands' shape, in float32 or wider.

    Raises:
        UsageError: an unknown kind, or a beta that is not positive.
    """
    _check(kind, beta)
    dtype = torch.promote_types(predicted.dtype, torch.float32)
    return _ERRORS[kind](predicted.to(dtype), target.to(dtype), beta, "none")


def _check(kind: str, beta: float) -> None:
    if kind not in _ERRORS:
        raise UsageError(f"loss '{kind}' is unknown; valid: {', '.join(LOSSES)}")
    if not beta > 0:
        raise UsageError(f"loss beta is {beta}; it must be > 0 (kind 'l1' is the limit at 0)")


def masked_loss(
    predicted: Tensor, target: Tensor, mask: Tensor, kind: str = "smooth_l1", beta: float = 0.1
) -> Tensor:
    """Mean error over the channels of the masked tokens; all other tokens count for nothing.

    Args:
        predicted: (B, T, h, w, C), as `MaskedForecaster.reconstruct` gives.
        target: (B, T, h, w, C), the true features.
        mask: (B, T, h, w) bool, True where the token was hidden from the forecaster.
        kind: "smooth_l1" (the paper's), "mse" or "l1".
        beta: error at which smooth L1 turns from quadratic to linear.

    Returns:
        Scalar, computed in float32 or wider. 0, with a gradient of 0, when nothing is masked: the
        random schedules draw such masks now and then, and their mean would be NaN.

    Raises:
        UsageError: an unknown kind, or a beta that is not positive.
        ValueError: shapes that do not belong together, or a mask that is not boolean.
    """
    _check(kind, beta)
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted has shape {tuple(predicted.shape)} and target {tuple(target.shape)}; "
            "a loss compares equal shapes"
        )
    if mask.dtype != torch.bool or mask.shape != predicted.shape[:-1]:
        raise ValueError(
            f"mask is {mask.dtype} of shape {tuple(mask.shape)}, "
            f"expected torch.bool of shape {tuple(predicted.shape[:-1])}"
        )
    # Half precision would lose the sum over millions of values.
    dtype = torch.promote_types(predicted.dtype, torch.float32)
    hidden = predicted[mask].to(dtype)
    total = _ERRORS[kind](hidden, target[mask].to(dtype), beta, "sum")
    return total / max(hidden.numel(), 1)
