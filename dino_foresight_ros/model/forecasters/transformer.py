"""Transformer blocks over frames of patches: attention over time, over space, feed-forward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
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
        mixed = attend(q, k, v, self.dropout if self.training else 0.0)
        return mixed.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention by the faster of two ways (benchmark/README.md).

    Args:
        q: (G, heads, S, d) queries.
        k, v: (G, heads, L, d) keys and values.
        dropout: of attention weights.

    Returns:
        (G, heads, S, d).
    """
    if _plainly(q, k):
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1).to(v.dtype)
        return functional.dropout(weights, dropout) @ v
    return functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


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


class Block(nn.Module):
    """Pre-norm block: temporal attention, spatial attention, feed-forward (or full attention)."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        factorised: bool = True,
        window: int = 1,
    ) -> None:
        """Prepare.

        Args:
            width: D, values per token.
            heads: of attention.
            hidden: width of the feed-forward's inner layer.
            dropout: in training only.
            factorised: attend over time, then over space; over all tokens at once otherwise.
            window: k of the k x k windows over which attention over time spans.
        """
        super().__init__()
        self.window, self.factorised = window, factorised
        self.norm_time = nn.LayerNorm(width)
        self.attend_time = Attention(width, heads, dropout)
        if self.factorised:
            self.norm_space = nn.LayerNorm(width)
            self.attend_space = Attention(width, heads, dropout)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, keep: int | None = None) -> Tensor:
        """Transform tokens.

        Args:
            x: (B, T, h, w, D).
            keep: carry on only this many trailing frames (the masked ones); all when None.

        Returns:
            (B, keep or T, h, w, D).
        """
        keep = x.shape[1] if keep is None else keep
        x = x[:, -keep:] + self._over_time(self.norm_time(x), keep)
        if self.factorised:
            x = x + self._over_space(self.norm_space(x))
        return x + self.mlp(self.norm_mlp(x))

    def _over_time(self, x: Tensor, keep: int) -> Tensor:
        """Attend over time per patch, per window, or over everything. Gives (B, keep, h, w, D)."""
        batch, _, height, width, _ = x.shape
        if not self.factorised:
            return self.attend_time(
                x,
                lambda t: t.flatten(1, 3),
                lambda t: t.unflatten(1, (-1, height, width)),
                keep,
            )
        k = self.window
        sizes = {"b": batch, "h": height // k, "w": width // k, "p": k, "q": k}
        return self.attend_time(
            x,
            lambda t: rearrange(t, "b t (h p) (w q) d -> (b h w) (t p q) d", p=k, q=k),
            lambda t: rearrange(t, "(b h w) (t p q) d -> b t (h p) (w q) d", **sizes),
            keep,
        )

    def _over_space(self, x: Tensor) -> Tensor:
        batch, frames, height, width, _ = x.shape
        return self.attend_space(
            x,
            lambda t: t.flatten(2, 3).flatten(0, 1),
            lambda t: t.view(batch, frames, height, width, -1),
        )
