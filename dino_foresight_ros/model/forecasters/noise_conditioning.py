"""How a world forecaster draws several futures of one context and keeps the one that it expects.

After each block `q = q + V (h(q) * U e)`, h(q) = GELU(W LN[q]), e the future's noise: a few normal
numbers that all patches and horizons share, so that a future is one future everywhere (as in
functional generative networks, Alet et al., arXiv 2506.10772, whose noise acts by layer norms). A
noise of zeros changes nothing: the expected future is that of the forecaster without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NONE, BLOCKS = "none", "blocks"
FUTURES = (NONE, BLOCKS)
NOISE_VALUES = 16
"""Numbers of a future's noise."""
_WIDTH = 96
"""Values between a patch and what the noise changes of it."""


class NoiseConditioning(nn.Module):
    """What a future's noise changes after each block.

    Everything is drawn in a fork of the random state: whatever is drawn afterwards is the same as
    without.
    """

    def __init__(self, width: int, layers: int) -> None:
        """Draw fresh weights.

        Args:
            width: D of the forecaster.
            layers: its number of blocks.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.blocks = nn.ModuleList(NoiseBlock(width) for _ in range(layers))


class NoiseBlock(nn.Module):
    """What a noise adds to a patch depends on what the patch holds, and is linear in the noise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, _WIDTH)
        self.gate = nn.Linear(NOISE_VALUES, _WIDTH, bias=False)
        self.contract = nn.Linear(_WIDTH, width, bias=False)
        nn.init.normal_(self.contract.weight, std=0.02)

    def forward(self, q: Tensor, noise: Tensor) -> Tensor:
        """(B, K or 1, T, D) queries, (B, K, E) a noise for each future -> (B, K, T, D)."""
        held = functional.gelu(self.expand(self.norm(q)))
        out: Tensor = q + self.contract(held * self.gate(noise)[:, :, None])
        return out
