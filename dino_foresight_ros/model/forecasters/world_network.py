"""The network of the world forecaster: its weights, and one pass over all blocks.

Plain tensors in and out, as compiled and exported functions need them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.model.forecasters.cross_attention import Part, WorldBlock
from dino_foresight_ros.model.forecasters.hindcast import (
    Change,
    believed_share,
    lattice,
    spread_factor,
)
from dino_foresight_ros.model.forecasters.motion_conditioning import NONE, MotionConditioning
from dino_foresight_ros.model.forecasters.noise_conditioning import BLOCKS, NoiseConditioning
from dino_foresight_ros.model.forecasters.rotary import Rotation, grid_rotations, joined, still
from dino_foresight_ros.model.forecasters.world_config import WorldConfig


class Queries(NamedTuple):
    """Patches of asked instants, (B, K, T, D), all of which go through the blocks at once.

    Attributes:
        tokens: (B, K, T, D).
        angles: (B, T, .), by time, column and row.
        parts: of the T, the first of which holds the instants ahead, and each other a hindcast.
    """

    tokens: Tensor
    angles: Rotation
    parts: list[Part]


class WorldNetwork(nn.Module):
    """Blocks of queries that attend to past frames, what the queries start from, and the output."""

    def __init__(self, config: WorldConfig) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Parameter(torch.empty(config.width)) if config.query == "learned" else None
        self.query_newest = (
            nn.Linear(config.channels, config.width) if config.query_newest else None
        )
        self.blocks = nn.ModuleList(WorldBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, config.channels)
        self._grids: dict[tuple[Any, ...], tuple[Rotation, Rotation]] = {}
        self.motion: MotionConditioning | None = None
        self.futures: NoiseConditioning | None = None
        self.initialise()
        if config.motion != NONE:
            self.motion = MotionConditioning(
                config.motion, config.width, config.layers, config.motion_scale
            )
        if config.futures == BLOCKS:
            self.futures = NoiseConditioning(config.width, config.layers)

    @torch.no_grad()
    def initialise(self, block_scale: float = 1e-5) -> None:
        """Draw fresh weights: normal with 0.02, biases 0, and no change from a residual output.

        Those of the motion and of futures stay as they are made.

        Args:
            block_scale: what each block's scales start at; the paper's is 1e-5, a short training
                learns from 0.5.
        """
        for name, parameter in self.named_parameters():
            if name.startswith(("motion.", "futures.")):
                continue
            if parameter.ndim == 2 or name == "query":
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "scale" in name:
                nn.init.constant_(parameter, block_scale)
        if self.query_newest is not None:
            self.query_newest.reset_parameters()
        if self.config.predict == "residual":
            nn.init.zeros_(self.out.weight)

    def run_blocks(
        self,
        recent: Tensor,
        noise: Tensor | None,
        motion: Tensor | None,
        past_cos: Tensor,
        past_sin: Tensor,
        ahead_cos: Tensor,
        ahead_sin: Tensor,
        column_cos: Tensor,
        column_sin: Tensor,
        row_cos: Tensor,
        row_sin: Tensor,
        layers: tuple[int, ...],
        *keys_and_values: Tensor,
    ) -> tuple[Tensor, ...]:
        """All blocks, for all samples, horizons and hindcasts at once.

        Args:
            recent: (B, 1 + H, h, w, C) features of the newest frame, last, and of the H before it,
                from each of which the newest is hindcast; H may be 0.
            noise: (B, K, D) queries, or (B, K, E) for blocks of noise; None for one future, the
                expected one of these.
            motion: (B, K or 1, S, 3) float32; None for a model without.
            past_cos, past_sin: (B, N, .), by the context frames' times.
            ahead_cos, ahead_sin: (B, S, .), by the asked times.
            column_cos, column_sin, row_cos, row_sin: (P, .), of all patches.
            layers: whose hidden tokens to give along.
            keys_and_values: of each block, (B, N, h, w, 2 D).

        Returns:
            Where H is not 0, (B, 1, h, w) float32, the share of hindcast changes that came true, or
            of blocks of noise (B, 2, h, w), also by what the futures' spread is to be scaled;
            (B, K, S, P, C); and tokens after each of the layers, (B, K, S, P, D).
        """
        horizons, patches = ahead_cos.shape[1], column_cos.shape[0]
        past = Rotation(past_cos, past_sin)
        space = Rotation(column_cos, column_sin), Rotation(row_cos, row_sin)
        asked = self._queries(recent, noise, past, Rotation(ahead_cos, ahead_sin), space)
        embedded: list[Tensor] = []
        if self.motion is not None and motion is not None:
            embedded = [*self._motions(motion, patches, asked.parts)]
        time = Rotation(past_cos[:, :, None, None], past_sin[:, :, None, None])
        past = joined(time, still(time, sum(self.config.rope[1:])))
        q, hidden = asked.tokens, {}
        for index, (block, kept) in enumerate(zip(self.blocks, keys_and_values, strict=True)):
            # Candidates share the first block: their queries differ only after it.
            q = block(q, kept.flatten(2, 3), asked.angles, past, asked.parts)
            if self.motion is not None and embedded:
                q = self.motion.blocks[index](q, *embedded)
            if self.futures is not None and noise is not None:
                q = self.futures.blocks[index](q, noise)
            if index in layers:
                hidden[index] = q
        ahead, *hindcast = self.out(self.norm(q)).split([p.queries for p in asked.parts], dim=2)
        predicted = ahead.unflatten(2, (horizons, patches))
        if self.config.predict == "residual":
            predicted = recent[:, -1].flatten(1, 2)[:, None, None] + predicted
        tokens = (hidden[i][:, :, : asked.parts[0].queries] for i in layers)
        found = predicted, *(x.unflatten(2, (horizons, patches)) for x in tokens)
        return (self._believed(recent, hindcast), *found) if hindcast else found

    def _queries(
        self,
        recent: Tensor,
        noise: Tensor | None,
        past: Rotation,
        ahead: Rotation,
        space: tuple[Rotation, Rotation],
    ) -> Queries:
        """Those of the asked instants, then of each hindcast of the newest frame."""
        grid, horizons = (recent.shape[2], recent.shape[3]), ahead.cos.shape[1]
        frames, hindcasts = past.cos.shape[1], recent.shape[1] - 1
        of_instant = self._start(recent[:, -1].flatten(1, 2), noise)
        tokens = [of_instant.repeat(1, 1, horizons, 1)]
        instants = Rotation(*(x[:, :, None] for x in ahead))
        angles = [Rotation(*(x.flatten(1, 2) for x in joined(instants, *space)))]
        parts = [Part(tokens[0].shape[2], frames)]
        if hindcasts:
            newest = Rotation(*(x[:, -1:] for x in past))
            on_lattice = joined(newest, *(_on_lattice(axis, grid) for axis in space))
        for back, before in enumerate(_hindcast_frames(recent)[1:], start=1):
            tokens.append(self._start(before.flatten(1, 2), None if noise is None else 0.0 * noise))
            angles.append(on_lattice)
            parts.append(Part(tokens[-1].shape[2], frames - back))
        of_all = Rotation(*(torch.cat(kind, dim=1) for kind in zip(*angles, strict=True)))
        return Queries(torch.cat(tokens, dim=2), of_all, parts)

    def _start(self, newest: Tensor, noise: Tensor | None) -> Tensor:
        """What stands at each patch of an asked instant: (B, P, C), (B, K, D) -> (B, K, P, D)."""
        if self.query is not None:
            noise = self.query.expand(newest.shape[0], 1, -1)
        assert noise is not None
        q = noise[:, :, None].expand(-1, -1, newest.shape[1], -1)
        if self.query_newest is not None:
            q = q + self.query_newest(newest)[:, None]
        return q

    def _believed(self, recent: Tensor, hindcasts: Sequence[Tensor]) -> Tensor:
        """What came true of hindcasts (B, K, P', C), as `run_blocks` gives it."""
        newest, *earlier = _hindcast_frames(recent)
        changes = []
        for before, one in zip(earlier, hindcasts, strict=True):
            futures = one.unflatten(2, before.shape[1:3])
            if self.config.predict != "residual":
                futures = futures - before[:, None]
            mean, variance = futures[:, 0], None
            if self.futures is not None and futures.shape[1] > 1:
                mean = futures.mean(dim=1)
                variance = futures.float().var(dim=1, correction=0).sum(-1)
            changes.append(Change(mean, newest - before, variance))
        grid = recent.shape[2], recent.shape[3]
        found = [believed_share(changes, grid)]
        if changes[0].variance is not None:
            found.append(spread_factor(changes, found[0], grid))
        return torch.stack(found, dim=1)

    def _motions(
        self, motion: Tensor, patches: int, parts: Sequence[Part]
    ) -> tuple[Tensor, Tensor]:
        """Embedded motions, and which of them each query's is; that of hindcasts is not known."""
        assert self.motion is not None
        rows = torch.arange(motion.shape[2], device=motion.device).repeat_interleave(patches)
        extra = sum(part.queries for part in parts[1:])
        if extra:
            rows = functional.pad(rows, (0, extra), value=motion.shape[2])
            motion = functional.pad(motion, (0, 0, 0, 1), value=math.nan)
        return self.motion.embed(motion), rows

    def draw_noise(self, *shape: int, generator: torch.Generator | None = None) -> Tensor:
        """Noise queries (*shape, D), or noise of blocks (*shape, E), float32 on the CPU."""
        noise = torch.randn(*shape, self.config.noise_values, generator=generator)
        return noise if self.config.futures == BLOCKS else noise * self.config.noise_std

    def grid_angles(
        self, height: int, width: int, device: torch.device
    ) -> tuple[Rotation, Rotation]:
        """Angles by column and row, (h * w, .), made once for each grid."""
        key = (height, width, device)
        if key not in self._grids:
            _, columns, rows = self.config.rope
            with torch.inference_mode(False):  # a training may use them later
                column, row = grid_rotations(height, width, columns, rows)
                self._grids = {key: (column.to(device), row.to(device))}
        return self._grids[key]


def _hindcast_frames(recent: Tensor) -> list[Tensor]:
    """(B, 1 + H, h, w, C) -> the newest frame and the H before it, newest first, on the lattice."""
    rows, columns = lattice(recent.shape[2], recent.shape[3])
    return [frame[:, rows, columns] for frame in recent.unbind(1)[::-1]]


def _on_lattice(axis: Rotation, grid: tuple[int, int]) -> Rotation:
    """(h * w, .) -> those of the patches that are hindcast."""
    return Rotation(*(x.unflatten(0, grid)[lattice(*grid)].flatten(0, 1) for x in axis))
