"""How a world forecaster takes the motion of the camera's base until the asked instant.

After each block `q = q + MLP(LN[q, a])`, a the motion until then (DINO-world, arXiv 2507.19468,
action-conditioned fine-tuning). The last layer is zero at first, so that a training starts from the
forecaster without motion. FiLM (Perez et al., arXiv 1709.07871) is there for comparison: one scale
and shift of the channels for all patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.planar_motion import compose, inverse, motion_at

NONE, BLOCKS, FILM = "none", "blocks", "film"
MOTIONS = (NONE, BLOCKS, FILM)
MOTION_VALUES = 3
"""dx m, dy m, dyaw rad."""
_WIDTH = 64
"""Values of an embedded motion, few beside a patch's, which it is joined to."""


class MotionConditioning(nn.Module):
    """An embedding of the motion, and what it changes after each block.

    Everything is drawn in a fork of the random state: whatever is drawn afterwards is the same as
    without motion.
    """

    def __init__(self, kind: str, width: int, layers: int, scale: Sequence[float]) -> None:
        """Draw fresh weights that change nothing.

        Args:
            kind: "blocks" or "film".
            width: D of the forecaster.
            layers: its number of blocks.
            scale: m, m and rad that reach the embedding as 1.
        """
        super().__init__()
        block = {BLOCKS: MotionBlock, FILM: FilmBlock}[kind]
        with torch.random.fork_rng(devices=[]):
            self.expand = nn.Linear(MOTION_VALUES, _WIDTH)
            self.contract = nn.Linear(_WIDTH, _WIDTH)
            self.unknown = nn.Parameter(nn.init.normal_(torch.empty(_WIDTH), std=0.02))
            self.blocks = nn.ModuleList(block(width) for _ in range(layers))
        for one in self.blocks:
            nn.init.zeros_(cast("nn.Linear", one.contract).weight)
            nn.init.zeros_(cast("nn.Linear", one.contract).bias)
        # No buffer, which a bundle would have to hold, and half precision would round.
        self.scale = tuple(float(value) for value in scale)

    def embed(self, motion: Tensor) -> Tensor:
        """Motions (..., 3) in float32 -> (..., A); one with a value that is not finite is unknown.

        Scaled in float32: metres of half precision are off by centimetres.
        """
        is_known = motion.isfinite().all(dim=-1, keepdim=True)
        values = torch.where(is_known, motion, 0.0).unbind(dim=-1)
        parts = [value / scale for value, scale in zip(values, self.scale, strict=True)]
        scaled = torch.stack(parts, dim=-1)
        known = self.contract(functional.gelu(self.expand(scaled.to(self.unknown.dtype))))
        return torch.where(is_known, known, self.unknown.to(known.dtype))


class MotionBlock(nn.Module):
    """What a motion adds to a patch depends on what the patch holds: MLP(LN[q, a])."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width + _WIDTH)
        self.expand = nn.Linear(width + _WIDTH, width)
        self.contract = nn.Linear(width, width)

    def forward(self, q: Tensor, motion: Tensor, rows: Tensor) -> Tensor:
        """Apply motions.

        Args:
            q: (B, K or 1, T, D) queries.
            motion: (B, K or 1, M, A) embedded motions.
            rows: (T,) which of the M each query's is.

        Returns:
            (B, K, T, D).
        """
        samples = max(motion.shape[1], q.shape[1])
        q = q.expand(-1, samples, -1, -1)
        of_queries = motion.to(q.dtype)[:, :, rows].expand(-1, samples, -1, -1)
        joined = self.norm(torch.cat([q, of_queries], dim=-1))
        out: Tensor = q + self.contract(functional.gelu(self.expand(joined)))
        return out


class FilmBlock(nn.Module):
    """One scale and one shift of each channel, the same at all patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(_WIDTH, width)
        self.contract = nn.Linear(width, 2 * width)

    def forward(self, q: Tensor, motion: Tensor, rows: Tensor) -> Tensor:
        """As `MotionBlock.forward`."""
        change = self.contract(functional.gelu(self.expand(motion)))[:, :, rows]
        scale, shift = change.chunk(2, dim=-1)
        out: Tensor = q * (1 + scale) + shift
        return out


def check_motion(motion: Tensor, batch: int, horizons: int, samples: int) -> None:
    """Check the shape of motions that a forecaster is asked with.

    Raises:
        ValueError: it is not (B, S, 3) or (B, K, S, 3), or several candidates meet several samples.
    """
    shape = tuple(motion.shape)
    if len(shape) not in (3, 4) or 0 in shape or (shape[0], *shape[-2:]) != (batch, horizons, 3):
        raise ValueError(
            f"motion has shape {shape}, expected ({batch}, {horizons}, 3), or "
            f"({batch}, K, {horizons}, 3) for K candidates"
        )
    if len(shape) == 4 and shape[1] > 1 and samples > 1:
        raise ValueError(f"samples is {samples}; with {shape[1]} candidates it must be 1")


def split_motion(
    motion: Tensor, horizons_s: Sequence[float], asked_s: Sequence[float], near: int
) -> tuple[Tensor, Tensor]:
    """Motions until the instants that are asked first, and on from the last of these.

    Args:
        motion: (B, K, S, 3) until each of S horizons.
        horizons_s: S rising seconds.
        asked_s: the first of these, and maybe one instant more, which is fed back.
        near: how many of the horizons are asked first.

    Returns:
        (B, K, len(asked_s), 3) float64 from the newest frame, and (B, K, S - near, 3) float64 from
        the last asked instant until the other horizons.
    """
    every = motion.double().cpu().numpy()
    moved = every[..., :near, :]
    if near < len(asked_s):
        last = motion_at(every, horizons_s, asked_s[-1])
        moved = np.concatenate([moved, last[..., None, :]], axis=-2)
    rest = compose(inverse(moved[..., -1:, :]), every[..., near:, :])
    return torch.from_numpy(moved), torch.from_numpy(rest)
