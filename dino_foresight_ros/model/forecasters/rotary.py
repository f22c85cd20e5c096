"""Rotary position embedding over seconds, column and row of patches.

Each axis rotates pairs of a head's values by angles in proportion to the position, so that the
product of a query and a key depends on the difference of their positions alone. Frequencies and
order of axes are those of DINO-world's predictor (Baldassarre et al., arXiv 2507.19468, sec. 3.2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

DECADES = 2.0
"""Frequencies lie between 10**-2 and 10**2 turns per second, or per half of the grid's side."""


class Rotation(NamedTuple):
    """Cosine and sine of an axis' angles, (..., n / 2) float32 for n rotated values of a head."""

    cos: Tensor
    sin: Tensor

    def to(self, device: torch.device) -> Rotation:
        """The same on a device."""
        return Rotation(self.cos.to(device), self.sin.to(device))


def rotation(positions: Tensor, values: int) -> Rotation:
    """Angles of one axis.

    In float32, as the published models were trained: at 2 * pi * 100 radians per second, times have
    to be counted from an origin near the context.

    Args:
        positions: (...) seconds, or -1 to 1 over the grid.
        values: n, how many of a head's values the axis rotates; even.
    """
    frequencies = 10 ** -torch.linspace(-DECADES, DECADES, values // 2, device=positions.device)
    angles = 2 * math.pi * positions.float()[..., None] * frequencies
    return Rotation(angles.cos(), angles.sin())


def grid_rotations(height: int, width: int, columns: int, rows: int) -> tuple[Rotation, Rotation]:
    """Angles of each patch of a grid, row by row.

    Args:
        height, width: of the grid.
        columns, rows: how many of a head's values rotate by column and by row.

    Returns:
        By column and by row, (h * w, n / 2) each.
    """
    row = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    column = torch.linspace(-1, 1, width).expand(height, width)
    return rotation(column.flatten(), columns), rotation(row.flatten(), rows)


def rotate(x: Tensor, *axes: Rotation) -> Tensor:
    """Rotate the first values of each head, axis by axis, in float32; the rest stays.

    Args:
        x: (..., d), a head's values.
        axes: angles that broadcast to (..., n / 2).

    Returns:
        (..., d) in the number format of x.
    """
    parts: list[Tensor] = []
    start = 0
    for cos, sin in axes:
        half = cos.shape[-1]
        first, second = x[..., start : start + half], x[..., start + half : start + 2 * half]
        # A product with float32 angles is in float32 whatever the model's number format.
        parts.append((first * cos - second * sin).to(x.dtype))
        parts.append((second * cos + first * sin).to(x.dtype))
        start += 2 * half
    parts.append(x[..., start:])
    return torch.cat(parts, dim=-1)
