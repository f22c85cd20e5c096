"""What a forecast is compared with: copying the last frame, a linear map, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE

LINEAR, MLP = "linear", "mlp"
TITLES = {
    FORECAST: "forecast",
    COPY_LAST: "copy-last",
    LINEAR: "linear",
    MLP: "MLP",
    ORACLE: "oracle",
}
"""Names for people."""

ALPHAS = tuple(10.0**exponent for exponent in range(-6, 4))
"""Ridge penalties that are tried, in units of the inputs' mean variance times the tokens."""


class Predictor(Protocol):
    """Predicts several steps from a context."""

    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C)."""
        ...


class CopyLast:
    """The newest frame's features, at every step."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C)."""
        return context[:, -1:].expand(-1, self._steps, -1, -1, -1)


class Rollout:
    """The forecaster, fed its own predictions."""

    def __init__(self, forecaster: nn.Module, steps: Sequence[int]) -> None:
        self._forecaster = forecaster
        self._steps = steps

    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C), the wanted steps."""
        rollout = self._forecaster.rollout
        predicted: Tensor = rollout(context, max(self._steps))  # type: ignore[operator]
        return predicted[:, [step - 1 for step in self._steps]]


def to_rows(context: Tensor) -> Tensor:
    """(B, N_c, h, w, C) -> (B*h*w, N_c*C): the same patch in every context frame."""
    return context.permute(0, 2, 3, 1, 4).flatten(0, 2).flatten(1)


def to_maps(rows: Tensor, context: Tensor) -> Tensor:
    """Changes (B*h*w, S*C) after the newest frame -> predicted (B, S, h, w, C)."""
    batch, _, height, width, channels = context.shape
    changes = rows.view(batch, height, width, -1, channels).permute(0, 3, 1, 2, 4)
    return context[:, -1:] + changes


def changes_of(context: Tensor, targets: Tensor) -> Tensor:
    """What a fitted predictor learns: (B, S, h, w, C) minus the newest frame -> (B*h*w, S*C)."""
    return to_rows(targets - context[:, -1:])


class TokenPredictor:
    """A fitted map from one patch's history to its changes; it never looks at other patches."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @torch.inference_mode()
    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C)."""
        changes: Tensor = self.model(to_rows(context).float())
        return to_maps(changes.to(context.dtype), context)


class RidgeSums:
    """Sufficient statistics of a linear regression, added up batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take rows: x (n, D) and y (n, K)."""
        x, y = x.double(), y.double()
        new = [x.sum(0), y.sum(0), x.T @ x, x.T @ y, y.square().sum()]
        self.count += len(x)
        self._sums = [a + b for a, b in zip(self._sums, new, strict=True)] if self._sums else new

    def __add__(self, other: RidgeSums) -> RidgeSums:
        both = RidgeSums()
        both.count = self.count + other.count
        both._sums = [a + b for a, b in zip(self._sums, other._sums, strict=True)]
        return both

    def solve(self, alphas: Sequence[float]) -> list[nn.Linear]:
        """Ridge solutions that leave the intercept unpenalised, one per alpha.

        Minimises sum |y - W x - b|^2 + alpha |W|^2.
        """
        x, y, xx, xy, _ = self._sums
        mean_x, mean_y = x / self.count, y / self.count
        values, vectors = torch.linalg.eigh(xx - self.count * torch.outer(mean_x, mean_x))
        turned = vectors.T @ (xy - self.count * torch.outer(mean_x, mean_y))
        solutions = []
        for alpha in alphas:
            weight = vectors @ (turned / (values.clamp_min(0) + alpha)[:, None])
            inputs, outputs = weight.shape
            # Without drawing weights, which would take the caller's random numbers.
            linear = nn.utils.skip_init(nn.Linear, inputs, outputs, device=weight.device)
            assert isinstance(linear, nn.Linear)
            with torch.no_grad():
                linear.weight.copy_(weight.T)
                linear.bias.copy_(mean_y - mean_x @ weight)
            solutions.append(linear.requires_grad_(False))
        return solutions

    def penalty_unit(self) -> float:
        """Mean variance of an input times the number of rows."""
        x, xx = self._sums[0], self._sums[2]
        return float((xx.diagonal() - x.square() / self.count).mean().clamp_min(1e-12))

    def squared_error(self, linear: nn.Linear) -> float:
        """Sum of |y - W x - b|^2 over the rows, from the sums alone."""
        x, y, xx, xy, yy = self._sums
        weight, bias = linear.weight.T.double(), linear.bias.double()
        explained = (weight * xy).sum() + bias @ y
        size = (weight * (xx @ weight)).sum() + 2 * (x @ weight) @ bias + self.count * (bias @ bias)
        return float(yy - 2 * explained + size)


def fit_ridge(train: RidgeSums, validation: RidgeSums | None) -> tuple[nn.Linear, float]:
    """Choose the penalty on the validation rows, then fit on all of them.

    Returns:
        The map (D -> K) and the chosen alpha.
    """
    alphas = [factor * train.penalty_unit() for factor in ALPHAS]
    if validation is None:
        alpha = alphas[len(alphas) // 2]
        return train.solve([alpha])[0], alpha
    errors = [validation.squared_error(linear) for linear in train.solve(alphas)]
    best = min(range(len(alphas)), key=errors.__getitem__)
    share = 1 + validation.count / train.count
    return (train + validation).solve([alphas[best] * share])[0], alphas[best] * share
