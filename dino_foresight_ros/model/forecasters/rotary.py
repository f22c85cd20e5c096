"""Rotary position embedding over seconds, column and row of patches.

Each axis rotates pairs of a head's values by angles in proportion to the position, so that the
product of a query and a key depends on the difference of their positions alone. Frequencies and
order of axes are those of DINO-world's predictor (Baldassarre et al., arXiv 2507.19468, sec. 3.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def still(like: Rotation, values: int) -> Rotation:
    """Of an axis of n values that are not rotated, with the dimensions of another's angles."""
    shape = (*like.cos.shape[:-1], values // 2)
    return Rotation(like.cos.new_ones(shape), like.sin.new_zeros(shape))


def joined(*axes: Rotation) -> Rotation:
    """The angles of several axes as those of one, broadcast against each other."""
    # torch.broadcast_shapes imports sympy first, three seconds of CPU time.
    shape = torch.broadcast_tensors(*(axis.cos[..., :1] for axis in axes))[0].shape[:-1]
    cos, sin = (
        torch.cat([values.expand(*shape, -1) for values in kind], dim=-1)
        for kind in zip(*axes, strict=True)
    )
    return Rotation(cos, sin)


def halves_first(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Values (..., d) of a head in the order that `rotate` takes: of all axes the first halves,
    then the second ones, then what is not rotated.

    Args:
        x: axis after axis.
        axes: how many values each rotates.
    """
    *rotated, rest = x.split([*axes, x.shape[-1] - sum(axes)], dim=-1)
    halves = [axis.chunk(2, dim=-1) for axis in rotated if axis.shape[-1]]
    return torch.cat([*(h[0] for h in halves), *(h[1] for h in halves), rest], dim=-1)


def rotate(x: Tensor, axes: Rotation) -> Tensor:
    """Rotate pairs of a head's values in float32; the rest stays.

    All axes at once, on halves that lie together: axis by axis, a CPU goes through short pieces
    and takes twice as long.

    Args:
        x: (..., d), a head's values in the order of `halves_first`.
        axes: angles of all axes (`joined`) that broadcast to (..., n / 2).

    Returns:
        (..., d) in the number format of x.
    """
    half = axes.cos.shape[-1]
    values = x[..., : 2 * half]
    values = values.float() if values.dtype.itemsize < 4 else values
    first, second = values[..., :half], values[..., half:]
    turned = (first * axes.cos - second * axes.sin, second * axes.cos + first * axes.sin)
    return torch.cat([*(part.to(x.dtype) for part in turned), x[..., 2 * half :]], dim=-1)
