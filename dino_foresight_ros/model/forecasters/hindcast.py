"""How far a forecast is believed: as far as the same forecast of the past came true.

A forecaster that meets a camera unlike those of its training predicts changes that do not come, and
is then worse than to say that nothing changes. Of the context's own newest frame it is known what
came. So that frame is forecast from those before it (a hindcast), and what is predicted to change
ahead is scaled, patch by patch, by the fraction that came true then: the least-squares weight
between forecast and persistence, as short-term forecasts of the weather are blended with what is
observed. Where several futures are drawn, so are those of the hindcast, and how far they differ is
scaled to how far their mean was off, as an ensemble's spread is calibrated by its past errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

MAX_HINDCASTS = 2
"""The newest frame is forecast from those before it, and again without the one before it."""
STRIDE = 2
"""Every second row and column of patches is forecast, a quarter of the cost."""
_WINDOW = 5
"""Patches on a side of the neighbourhood whose weight is estimated together."""
MOST_SPREAD = 3.0
"""Futures are drawn apart to so many times their distance at most."""
_PRIOR = 0.3
"""Weight of the whole picture's estimate against a neighbourhood's own, in units of the change that
is predicted of the average patch. Hardly matters between 0.3 and 1, as the window does between 3
and 7 (docs/forecasters.md)."""


class Change(NamedTuple):
    """What a hindcast said would change, and what did, since its newest frame.

    Attributes:
        predicted: (B, h', w', C); the mean where several futures are drawn.
        true: (B, h', w', C).
        variance: (B, h', w'), of the futures, summed over channels; None where there is one.
    """

    predicted: Tensor
    true: Tensor
    variance: Tensor | None = None


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
    return _ratio(agreed, size, grid, most=1.0)


def spread_factor(changes: Sequence[Change], share: Tensor, grid: tuple[int, int]) -> Tensor:
    """Estimate how much farther than they were drawn futures have to differ, to differ as they err.

    Args:
        changes: of one or more hindcasts with variances, at the patches of `lattice`.
        share: (B, h, w), as `believed_share` gives it.
        grid: (h, w) of all patches.

    Returns:
        (B, h, w) float32, 0 to `MOST_SPREAD`; 1 where futures did not differ.
    """
    rows, columns = lattice(*grid)
    believed = share[:, rows, columns, None]
    off = [(c.true.float() - believed * c.predicted.float()).square().sum(-1) for c in changes]
    drawn = [cast("Tensor", c.variance).float() for c in changes]
    return _ratio(torch.stack(off).sum(0), torch.stack(drawn).sum(0), grid, MOST_SPREAD**2).sqrt()


def scaled_change(newest: Tensor, predicted: Tensor, believed: Tensor) -> Tensor:
    """Predict a fraction of the change, and futures that differ as much as they err.

    Args:
        newest: (B, K or 1, h, w, C) features now, of each future where what it predicted is fed
            back.
        predicted: (B, K, S, h, w, C) of K futures of S instants.
        believed: (B, 1 or 2, h, w) float32, the share, and the factor of how far changes differ
            from future to future.

    Returns:
        As `predicted`, in the number format of `newest`.
    """
    now = newest[:, :, None]
    share, *factor = believed[:, :, None, None, ..., None].unbind(1)
    change = predicted - now
    if not factor:
        return (now + share * change).to(newest)
    mean = change.mean(dim=1, keepdim=True)
    return (now + share * mean + factor[0] * (change - mean)).to(newest)


def _ratio(over: Tensor, under: Tensor, grid: tuple[int, int], most: float) -> Tensor:
    """Sums (B, h', w') of each patch's neighbourhood over one another, drawn to the whole's."""
    whole = _divided(over.sum((1, 2)), under.sum((1, 2)), most)[:, None, None]
    near_over, near_under, count = (_near(x, grid) for x in (over, under, torch.ones_like(under)))
    prior = _PRIOR * count * under.mean((1, 2), keepdim=True)
    return _divided(near_over + prior * whole, near_under + prior, most)


def _divided(over: Tensor, under: Tensor, most: float) -> Tensor:
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(under > tiny, over / under.clamp(min=tiny), 1.0).clamp(0.0, most)


def _near(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h', w') on the lattice -> (B, h, w) sums over each patch's neighbourhood."""
    rows, columns = lattice(*grid)
    spread = values.new_zeros(values.shape[0], *grid)
    spread[:, rows, columns] = values
    area = float(_WINDOW**2)
    return functional.avg_pool2d(spread[:, None], _WINDOW, 1, _WINDOW // 2)[:, 0] * area
