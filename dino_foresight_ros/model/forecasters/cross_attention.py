"""Blocks of queries that attend to the keys and values of past frames, and never to each other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.model.forecasters.rotary import Rotation, halves_first, rotate
from dino_foresight_ros.model.forecasters.transformer import FeedForward, attend
from dino_foresight_ros.model.forecasters.world_config import WorldConfig

M = TypeVar("M", bound=nn.Module)


def with_modules(module: M, **changed: nn.Module) -> M:
    """A twin of a module on the same weights, with some of its modules replaced."""
    twin = copy.copy(module)
    twin._modules = {**module._modules, **changed}
    return twin


class Part(NamedTuple):
    """Queries that follow one another and see the same frames.

    Attributes:
        queries: how many.
        frames: they see so many of the past frames, the oldest ones.
    """

    queries: int
    frames: int


class WorldBlock(nn.Module):
    """Pre-norm block: attention to the past, feed-forward, each with a scale per channel."""

    def __init__(self, config: WorldConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_query = nn.LayerNorm(width)
        self.attend = CrossAttention(config)
        self.scale_attend = nn.Parameter(torch.empty(width))
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = FeedForward(width, int(width * config.mlp_ratio))
        self.scale_mlp = nn.Parameter(torch.empty(width))

    def forward(
        self, q: Tensor, kept: Tensor, where: Rotation, past: Rotation, parts: Sequence[Part]
    ) -> Tensor:
        """(B, K, T, D) queries, (B, N, P, 2 D) keys and values -> (B, K, T, D)."""
        mixed = self.attend(self.norm_query(q), kept, where, past, parts)
        q = torch.addcmul(q, self.scale_attend, mixed)
        out: Tensor = torch.addcmul(q, self.scale_mlp, self.mlp(self.norm_mlp(q)))
        return out


class CrossAttention(nn.Module):
    """Attention of queries to the patches of all past frames."""

    def __init__(self, config: WorldConfig) -> None:
        super().__init__()
        self.heads, self.rope = config.heads, config.rope
        self.is_ordered = False  # whether q and the keys of kv are in the order of `rotate`
        self.q = nn.Linear(config.width, config.width)
        self.kv = nn.Linear(config.channels, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def keys_and_values(self, z: Tensor, space: Rotation) -> Tensor:
        """(..., h, w, C) features -> keys, rotated by column and row, and values (..., h, w, 2 D).

        Args:
            z: features.
            space: (h, w, 1, .) angles of all axes, those of the time being 0.
        """
        weight, bias = (self._halves_first(x) for x in (self.kv.weight, self.kv.bias))
        keys, values = functional.linear(z, weight, bias).chunk(2, dim=-1)
        keys = rotate(keys.unflatten(-1, (self.heads, -1)), space)
        return torch.cat([keys.flatten(-2), values], dim=-1)

    def ordered(self) -> CrossAttention:
        """A twin for forecasts alone: the weights of queries and keys are reordered once."""
        twin = with_modules(self, q=self._reordered(self.q), kv=self._reordered(self.kv))
        twin.is_ordered = True
        return twin

    def _reordered(self, linear: nn.Linear) -> nn.Linear:
        found = copy.copy(linear)
        found._parameters = {
            name: nn.Parameter(self._halves_first(x.detach()), requires_grad=False)
            for name, x in linear._parameters.items()
            if x is not None
        }
        return found

    def forward(
        self, q: Tensor, kept: Tensor, where: Rotation, past: Rotation, parts: Sequence[Part]
    ) -> Tensor:
        """Attend.

        Args:
            q: (B, K, T, D).
            kept: (B, N, P, 2 D), what `keys_and_values` gave of the past frames.
            where: (B, T, .), the queries' angles by time, column and row.
            past: the keys' angles by time, those of column and row being 0.
            parts: of the T queries, in their order.

        Returns:
            (B, K, T, D).
        """
        samples, patches = q.shape[1], kept.shape[2]
        keys, values = (t.unflatten(-1, (self.heads, -1)) for t in kept.chunk(2, dim=-1))
        weight, bias = (self._halves_first(x) for x in (self.q.weight, self.q.bias))
        queries = functional.linear(q, weight, bias).unflatten(-1, (self.heads, -1))
        queries = rotate(queries, Rotation(*(angles[:, None, :, None] for angles in where)))
        keys, values = rotate(keys, past).flatten(1, 2), values.flatten(1, 2)
        mixed = []
        for part, asking in zip(parts, queries.split([p.queries for p in parts], 2), strict=True):
            seen = part.frames * patches
            of_part = asking.flatten(1, 2), keys[:, :seen], values[:, :seen]
            asking, known, told = (x.transpose(1, 2) for x in of_part)  # heads first
            found = attend(asking, known, told)
            mixed.append(found.transpose(1, 2).flatten(2).unflatten(1, (samples, -1)))
        out: Tensor = self.out(mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=2))
        return out

    def _halves_first(self, x: Tensor) -> Tensor:
        """Weight or bias of queries or keys, by the first dimension, in the order of `rotate`.

        What makes the values is reordered, not they, which are many more.
        """
        if self.is_ordered:
            return x
        rotated, rest = x[: self.q.out_features], x[self.q.out_features :]
        of_heads = rotated.unflatten(0, (self.heads, -1)).movedim(1, -1)
        ordered = halves_first(of_heads, self.rope).movedim(-1, 1).flatten(0, 1)
        return torch.cat([ordered, rest])
