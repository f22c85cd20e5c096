"""Attention and feed-forward shared by the transformer blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SHORT_SEQUENCE = 16
"""Up to so many keys a CPU attends faster in 16 bits by two plain products."""
LARGEST_WEIGHTS = 2**25
"""Attention weights (values of one layer) up to which a CPU trains with them kept."""


class Attention(nn.Module):
    """Multi-head self-attention through the fused kernel, which keeps no attention weights.

    Plain products replace it on CPUs where they were measured to be faster
    (benchmark/README.md).

    `qkv` holds the query, key and value projections one below the other, as
    torch.nn.MultiheadAttention's in_proj does.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Tensor,
        group: Callable[[Tensor], Tensor],
        ungroup: Callable[[Tensor], Tensor],
        keep: int | None = None,
    ) -> Tensor:
        """Attend within groups of tokens.

        The projections run on x as it lies in memory and only their results are regrouped: a
        linear layer on a regrouped view would fall into a product per group.

        Args:
            x: (B, T, h, w, D).
            group: (B, t, h, w, D) -> (G, S, D), the sequences that attend to one another; the
                last frames' tokens come last in each.
            ungroup: its inverse.
            keep: only the tokens of this many trailing frames ask, and only theirs come out (all
                when None); keys and values always come from all frames.

        Returns:
            (B, keep or T, h, w, D).
        """
        if keep is None or keep == x.shape[1]:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            q = functional.linear(x[:, -keep:].contiguous(), weight[:width], bias[:width])
            k, v = functional.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        mixed = ungroup(self._mix(group(q), group(k), group(v)))
        return self.out(mixed.contiguous())

    def _mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(G, S, D) queries, keys and values -> (G, S, D)."""
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        if _plainly(q, k):
            weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1).to(v.dtype)
            mixed = functional.dropout(weights, dropout) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)


def _plainly(q: Tensor, k: Tensor) -> bool:
    """Whether plain products beat the fused kernel for (G, heads, S, d) queries and keys."""
    if q.device.type != "cpu":
        return False
    if torch.is_grad_enabled() and q.requires_grad:
        return q.shape[:-1].numel() * k.shape[-2] <= LARGEST_WEIGHTS
    return k.shape[-2] <= SHORT_SEQUENCE and q.dtype.itemsize < 4


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        hidden = self.dropout(functional.gelu(self.expand(x)))
        out: Tensor = self.dropout(self.contract(hidden))
        return out
