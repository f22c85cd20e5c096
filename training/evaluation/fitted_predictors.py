"""Linear and MLP predictors, fitted on clips that are not scored.

Both map one patch's history to its change, so they never look at other patches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.training.evaluation.clip_batches import ClipBatch
from dino_foresight_ros.training.evaluation.clip_plan import Clip
from dino_foresight_ros.training.evaluation.config import EvaluationConfig
from dino_foresight_ros.training.evaluation.predictors import LINEAR, LINEAR_1, MLP, MLP_1

ALPHAS = tuple(10.0**exponent for exponent in range(-6, 4))
"""Ridge penalties that are tried, in units of the inputs' mean variance times the tokens."""


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

    def __init__(self, model: nn.Module, newest_only: bool = False) -> None:
        """Take the map; `newest_only`: of the newest frame alone."""
        self.model, self._newest_only = model, newest_only

    @torch.inference_mode()
    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C)."""
        context = context[:, -1:] if self._newest_only else context
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


CHECKS = 10
"""How often the validation error is looked at; the best state is kept."""
LEARNING_RATE = 1e-3


class TokenMLP(nn.Module):
    """Two hidden layers on standardised inputs; starts as copy-last."""

    mean_x: Tensor
    std_x: Tensor
    scale_y: Tensor

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_x", torch.zeros(inputs))
        self.register_buffer("std_x", torch.ones(inputs))
        self.register_buffer("scale_y", torch.ones(()))
        last = nn.Linear(width, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), last
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, K)."""
        changes: Tensor = self.layers((x - self.mean_x) / self.std_x)
        return changes * self.scale_y


def fit_mlp(
    x: Tensor,
    y: Tensor,
    validation: tuple[Tensor, Tensor] | None,
    width: int,
    steps: int,
    batch: int,
    seed: int,
    on_step: Callable[[], object] | None = None,
) -> TokenMLP:
    """Fit by Adam on the mean squared error, cosine learning rate.

    Args:
        x: (n, D) rows of any float type, kept as they are and converted batch by batch.
        y: (n, K) changes.
        validation: rows to choose the best of `CHECKS` states by; the start, which is copy-last,
            is one of them. The last state when None.
        width: of the hidden layers.
        steps: of the optimiser.
        batch: rows per step.
        seed: of weights and batches; the caller's random state is left as it was.
        on_step: called after every step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TokenMLP(x.shape[1], y.shape[1], width).to(x.device)
    generator = torch.Generator().manual_seed(seed)
    model.mean_x.copy_(x.float().mean(0))
    model.std_x.copy_(x.float().std(0).clamp_min(1e-6))
    model.scale_y.copy_(y.float().square().mean().sqrt().clamp_min(1e-6))
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best = (_error(model, validation, batch), copy.deepcopy(model.state_dict()))
    every = max(1, steps // CHECKS)
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (min(batch, len(x)),), generator=generator).to(x.device)
        predicted = model(x[rows].float())
        loss = functional.mse_loss(predicted / model.scale_y, y[rows].float() / model.scale_y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if validation is not None and (step % every == 0 or step == steps):
            error = _error(model, validation, batch)
            if error < best[0]:
                best = (error, copy.deepcopy(model.state_dict()))
        if on_step is not None:
            on_step()
    if validation is not None:
        model.load_state_dict(best[1])
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _error(model: TokenMLP, rows: tuple[Tensor, Tensor] | None, batch: int) -> float:
    if rows is None:
        return 0.0
    total = 0.0
    for x, y in zip(rows[0].split(batch), rows[1].split(batch), strict=True):
        total += float((model(x.float()) - y.float()).square().sum())
    return total


VALIDATION_SHARE = 0.2
"""The last clips of a fit, on which the ridge penalty and the MLP's best state are chosen."""
_LEAST_CLIPS = 5
_MLP_BYTES = 1 << 30
"""Rows that all the MLPs of an evaluation keep in memory together."""


@dataclass(frozen=True)
class FitFacts:
    """How the fitted predictors of one series came about.

    Attributes:
        clips: fitted on, the validation clips among them.
        validation_clips: that the penalty and the best state were chosen on.
        alpha: the ridge penalty.
        mlp_rows: patches that the MLP drew from.
    """

    clips: int
    validation_clips: int
    alpha: float
    mlp_rows: int


@dataclass(frozen=True)
class Fitted:
    """Predictors of one series, and how they came about."""

    predictors: dict[str, TokenPredictor]
    facts: FitFacts


class SeriesFit:
    """Gathers the rows of one series."""

    def __init__(
        self, clips: Sequence[Clip], bytes_for_rows: int, seed: int, newest_only: bool = False
    ) -> None:
        """Start with no rows.

        Args:
            clips: that will be added.
            bytes_for_rows: memory of the rows that the MLP draws from.
            seed: of their choice.
            newest_only: fit from the newest frame of the context alone.
        """
        self._newest_only = newest_only
        held_out = round(len(clips) * VALIDATION_SHARE) if len(clips) >= _LEAST_CLIPS else 0
        # The last ones in time order, so that neighbours do not fall on both sides.
        self._validation = set(list(clips)[len(clips) - held_out :])
        self._clips = len(clips)
        self._bytes = bytes_for_rows
        self._generator = torch.Generator().manual_seed(seed)
        self._sums = {True: RidgeSums(), False: RidgeSums()}
        self._rows: dict[bool, list[tuple[Tensor, Tensor]]] = {True: [], False: []}

    def add(self, batch: ClipBatch) -> None:
        """Take a batch of this series' clips."""
        for row, clip in enumerate(batch.clips):
            context, targets = batch.context[row : row + 1], batch.targets[row : row + 1]
            context = context[:, -1:] if self._newest_only else context
            x, y = to_rows(context), changes_of(context, targets)
            held_out = clip in self._validation
            self._sums[held_out].add(x, y)
            most = self._bytes // (2 * (x.shape[1] + y.shape[1]) * self._clips)
            chosen = torch.randperm(len(x), generator=self._generator)[: max(1, most)]
            chosen = chosen.to(x.device)
            self._rows[held_out].append((x[chosen].half(), y[chosen].half()))

    def fit(self, config: EvaluationConfig, on_step: Callable[[], object]) -> Fitted | None:
        """Fit both predictors; None where no clip was readable."""
        if not self._rows[False]:
            return None
        validation = self._sums[True] if self._rows[True] else None
        linear, alpha = fit_ridge(self._sums[False], validation)
        x, y = _joined(self._rows[False])
        mlp = fit_mlp(
            x,
            y,
            _joined(self._rows[True]) if self._rows[True] else None,
            config.mlp_width,
            config.mlp_steps,
            config.mlp_batch,
            config.seed,
            on_step,
        )
        facts = FitFacts(
            sum(len(rows) for rows in self._rows.values()), len(self._rows[True]), alpha, len(x)
        )
        names = (LINEAR_1, MLP_1) if self._newest_only else (LINEAR, MLP)
        predictors = {
            name: TokenPredictor(model, self._newest_only)
            for name, model in zip(names, (linear, mlp), strict=True)
        }
        return Fitted(predictors, facts)


def _joined(rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([x for x, _ in rows]), torch.cat([y for _, y in rows])


def start_fits(
    clips: Sequence[Clip], series: int, seed: int, single_frame: bool = False
) -> dict[int, list[SeriesFit]]:
    """Gatherers for every series that has clips; all share the memory for rows.

    One from the whole context; with `single_frame` another from the newest frame alone.
    """
    by_series: dict[int, list[Clip]] = {}
    for clip in clips:
        by_series.setdefault(clip.series, []).append(clip)
    forms = (False, True) if single_frame else (False,)
    share = _MLP_BYTES // max(1, series * len(forms))
    return {
        number: [SeriesFit(of_series, share, seed, newest_only) for newest_only in forms]
        for number, of_series in by_series.items()
    }
