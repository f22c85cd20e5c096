"""Attention and feed-forward shared by the transformer blocks."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Multi-head self-attention through the fused kernel; attention weights are never kept.

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

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        """Attend within each sequence.

        Args:
            x: (..., S, D) sequences.
            queries: only the last `queries` tokens of each sequence ask (all when None); keys and
                values always come from the whole sequence.

        Returns:
            (..., queries or S, D).
        """
        length = x.shape[-2]
        if queries is None or queries == length:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            q = functional.linear(x[..., -queries:, :], weight[:width], bias[:width])
            k, v = functional.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        return self.out(self._mix(q, k, v))

    def _mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        leading = q.shape[:-2]
        q, k, v = (
            rearrange(t.flatten(0, -3), "b s (n d) -> b n s d", n=self.heads) for t in (q, k, v)
        )
        mixed = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0
        )
        return rearrange(mixed, "b n s d -> b s (n d)").unflatten(0, leading)


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
