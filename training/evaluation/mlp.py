"""The MLP predictor: a small network per patch, fitted with a fixed seed and budget."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

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
