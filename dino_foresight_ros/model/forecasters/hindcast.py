"""How far a forecast is believed: as far as the same forecast of the past came true.

A forecaster that meets a camera unlike those of its training predicts changes that do not come, and
is then worse than to say that nothing changes. Of the context's own newest frame it is known what
came. So that frame is forecast from those before it (a hindcast), and what is predicted to change
ahead is scaled, patch by patch, by the fraction that came true then: the least-squares weight
between forecast and persistence, as short-term forecasts of the weather are blended with what is
observed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

MAX_HINDCASTS = 2
"""The newest frame is forecast from those before it, and again without the one before it."""
STRIDE = 2
"""Every second row and column of patches is forecast, a quarter of the cost."""
_WINDOW = 5
"""Patches on a side of the neighbourhood whose weight is estimated together."""
_PRIOR = 0.3
"""Weight of the whole picture's estimate against a neighbourhood's own, in units of the change that
is predicted of the average patch. Hardly matters between 0.3 and 1, as the window does between 3
and 7 (docs/forecasters.md)."""


class Change(NamedTuple):
    """What a hindcast said would change, and what did, since its newest frame.

    Attributes:
        predicted: (B, h', w', C).
        true: (B, h', w', C).
    """

    predicted: Tensor
    true: Tensor


def lattice(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the patches that are forecast: every second one, at least one."""
    first = (min(STRIDE // 2, side - 1) for side in (height, width))
    rows, columns = (slice(start, None, STRIDE) for start in first)
    return rows, columns


def believed_share(changes: Sequence[Change], grid: tuple[int, int]) -> Tensor:
    """Estimate how much of a predicted change comes true.

    Args:
        changes: of one or more hindcasts, at the patches of `lattice`.
        grid: (h, w) of all patches.

    Returns:
        (B, h, w) float32, 0 (nothing) to 1 (all of it); 1 where nothing was predicted to change.
    """
    agreed = torch.stack([(c.predicted.float() * c.true.float()).sum(-1) for c in changes]).sum(0)
    size = torch.stack([c.predicted.float().square().sum(-1) for c in changes]).sum(0)
    whole = _fraction(agreed.sum((1, 2)), size.sum((1, 2)))[:, None, None]
    counted = torch.ones_like(size)
    near_agreed, near_size, count = (_near(x, grid) for x in (agreed, size, counted))
    prior = _PRIOR * count * size.mean((1, 2), keepdim=True)
    return _fraction(near_agreed + prior * whole, near_size + prior)


def scaled_change(newest: Tensor, predicted: Tensor, fraction: Tensor) -> Tensor:
    """Predict a fraction of the change.

    Args:
        newest: (..., h, w, C) features now.
        predicted: likewise of another instant, broadcast against it.
        fraction: (..., h, w) float32.

    Returns:
        As `predicted`, in the number format of `newest`.
    """
    return (newest + fraction[..., None] * (predicted - newest)).to(newest)


def _fraction(agreed: Tensor, size: Tensor) -> Tensor:
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(size > tiny, agreed / size.clamp(min=tiny), 1.0).clamp(0.0, 1.0)


def _near(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h', w') on the lattice -> (B, h, w) sums over each patch's neighbourhood."""
    rows, columns = lattice(*grid)
    spread = values.new_zeros(values.shape[0], *grid)
    spread[:, rows, columns] = values
    area = float(_WINDOW**2)
    return functional.avg_pool2d(spread[:, None], _WINDOW, 1, _WINDOW // 2)[:, 0] * area
