"""World forecasters small enough for plain computations, all of whose weights count."""

from __future__ import annotations

import torch
from torch import Tensor

from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster

CHANNELS = 6


def random_world(std: float, seed: int = 0, **changes: object) -> WorldForecaster:
    """A forecaster of two blocks whose weights are all random.

    Args:
        std: standard deviation of the weights.
        seed: of the weights; torch's global state goes on from it.
        changes: fields of `WorldConfig`.
    """
    values = {
        "channels": CHANNELS, "width": 24, "layers": 2, "heads": 2, "rope": (4, 4, 2),
        "query_newest": True, "predict": "residual",
    }  # fmt: skip
    torch.manual_seed(seed)
    forecaster = WorldForecaster(WorldConfig(**(values | changes))).eval().requires_grad_(False)
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return forecaster


def remembered(
    forecaster: WorldForecaster, grid: tuple[int, int], batch: int = 2
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Memories and stamps of three random frames of each of so many cameras."""
    torch.manual_seed(1)
    stamps_s = torch.tensor([[0.0, 0.1, 0.25]]).double().expand(batch, -1)
    return forecaster.remember(torch.randn(batch, 3, *grid, CHANNELS), stamps_s), stamps_s
