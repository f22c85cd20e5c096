"""DINO-world's predictor (Baldassarre et al., arXiv 2507.19468, sec. 3.2): any instant, any camera.

It asks "what is at this patch at that instant?" of the past: queries attend to the keys and values
of all patches of the context frames, and never to each other. Keys and values depend on their own
frame alone, so they are computed once, when it arrives. Instants reach the model as rotary
embeddings of seconds, so frames may lie at any distance, and every horizon can be asked at once.

Keys are kept rotated by column and row but not by time; a forecast rotates them by their time since
an origin that moves with the context.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.model.forecasters.autoregressive import append
from dino_foresight_ros.model.forecasters.cross_attention import Part, WorldBlock
from dino_foresight_ros.model.forecasters.hindcast import (
    MAX_HINDCASTS,
    Change,
    believed_share,
    lattice,
    scaled_change,
)
from dino_foresight_ros.model.forecasters.interface import (
    Forecaster,
    FrameMemory,
    Prediction,
    Wrap,
)
from dino_foresight_ros.model.forecasters.motion_conditioning import (
    NONE,
    MotionConditioning,
    split_motion,
)
from dino_foresight_ros.model.forecasters.rotary import (
    Rotation,
    grid_rotations,
    joined,
    rotation,
    still,
)
from dino_foresight_ros.model.forecasters.world_checks import SAME_INSTANT_S, check_question
from dino_foresight_ros.model.forecasters.world_config import WorldConfig
from dino_foresight_ros.outputs import MAX_SAMPLES

_ORIGIN_S = 10.0
"""Times are counted from the last multiple of so many seconds before the newest frame."""


class WorldForecaster(Forecaster):
    """Predicts features at any instants from frames of any instants, on any patch grid."""

    kind = "world"
    takes_any_instants = True
    grid = None
    seed: int = 0
    """Of the noise queries: the same futures are drawn at every forecast."""
    _wrapped: Callable[..., tuple[Tensor, ...]] | None = None

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
        self.initialise()
        if config.motion != NONE:
            self.motion = MotionConditioning(
                config.motion, config.width, config.layers, config.motion_scale
            )

    @torch.no_grad()
    def initialise(self, block_scale: float = 1e-5) -> None:
        """Draw fresh weights: normal with 0.02, biases 0, and no change from a residual output.

        Those of the motion stay: they change nothing as they are made.

        Args:
            block_scale: what each block's scales start at; the paper's is 1e-5, a short training
                learns from 0.5.
        """
        for name, parameter in self.named_parameters():
            if name.startswith("motion."):
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

    @property
    def context_frames(self) -> int:
        """N_c, how many frames it forecasts from; any number from 1 to 16 is taken."""
        return self.config.context_frames

    @property
    def max_context_age_s(self) -> float:
        """As the configuration says."""
        return self.config.max_context_age_s

    @property
    def context_spacing_s(self) -> float:
        """As the configuration says."""
        return self.config.context_spacing_s

    @property
    def channels(self) -> int:
        """C, values per patch in and out."""
        return self.config.channels

    @property
    def layers(self) -> int:
        """The number of blocks, each of which heads can read."""
        return self.config.layers

    @property
    def width(self) -> int:
        """D, the hidden size."""
        return self.config.width

    @property
    def max_samples(self) -> int:
        """How many futures can be drawn: 1 without noise queries."""
        return MAX_SAMPLES if self.config.query == "noise" else 1

    @property
    def takes_motion(self) -> bool:
        """As the configuration says."""
        return self.motion is not None

    @property
    def motion_speeds(self) -> tuple[float, float, float] | None:
        """As the configuration says."""
        return self.config.motion_speeds

    def with_motion(self, config: WorldConfig) -> WorldForecaster:
        """One of the same weights that takes motion, and so far forecasts the same whatever it is.

        Args:
            config: as this one's, with `motion`.
        """
        twin = WorldForecaster(config)
        fresh = {n: t for n, t in twin.state_dict().items() if n.startswith("motion.")}
        twin.load_state_dict(self.state_dict() | fresh)
        twin.frame_interval_s, twin.seed = self.frame_interval_s, self.seed
        return twin.to(self.out.weight)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return self.config.to_dict()

    def with_wrapped_core(self, wrap: Wrap) -> WorldForecaster:
        """A twin on the same weights whose pass over all blocks is wrapped."""
        twin = copy.copy(self)
        twin._wrapped = wrap(self._predict)
        return twin

    def with_options(self, **changes: Any) -> WorldForecaster:
        """A twin on the same weights.

        Args:
            changes: fields of `WorldConfig` that no weight depends on, such as `context_frames`,
                `max_context_age_s` and `feed_back_beyond_s`.

        Raises:
            BundleError: a value out of range.
        """
        twin = copy.copy(self)
        twin.config = replace(self.config, **changes)
        return twin

    def remember(self, z: Tensor, stamps_s: Tensor) -> FrameMemory:
        """Features (..., h, w, C), and of each block keys and values (..., h, w, 2 D)."""
        height, width = z.shape[-3:-1]
        axes = [_per_head(axis, (height, width)) for axis in self._space(height, width, z.device)]
        space = joined(still(axes[0], self.config.rope[0]), *axes)
        blocks = cast("list[WorldBlock]", list(self.blocks))
        return z, *(block.attend.keys_and_values(z, space) for block in blocks)

    def stream(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Sequence[float],
        motion: Tensor | None = None,
        samples: int = 1,
        layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:
        """As `Forecaster.stream`: all directly asked horizons and samples in one part.

        With `feed_back_beyond_s`, a part follows for each prediction that is fed back, in which
        every sample or candidate goes on from its own past. With `hindcast`, predicted changes are
        scaled by the share that came true in the past, but not those of candidates: of motions
        that were not driven the past says nothing.

        Raises:
            ValueError: no frames or over 16, equal or falling stamps, a context older than
                `max_context_age_s`; horizons that do not rise or are not within 0 to 10 s; motion
                of another shape, or of a model that takes none; samples of a model without noise
                queries, or of candidates.
        """
        check_question(self, memories, stamps_s, ahead_s, motion, samples, layers)
        rows = len(stamps_s)
        noise = self._draw(samples, rows)
        hindcasts, believed = 0, None
        if self.config.hindcast and (motion is None or motion.ndim == 3):
            hindcasts = min(MAX_HINDCASTS, stamps_s.shape[1] - 1)
        if motion is not None:
            motion = motion.double()
            motion = motion[:, None] if motion.ndim == 3 else motion  # (B, K or 1, S, 3)
            samples = max(samples, motion.shape[1])
        reach_s = self.config.feed_back_beyond_s or math.inf
        done_s, left = 0.0, list(ahead_s)
        while left:
            near = [h - done_s for h in left if h - done_s <= reach_s + SAME_INSTANT_S]
            left = left[len(near) :]
            asked = list(near)
            if left and (not near or reach_s - near[-1] > SAME_INSTANT_S):
                asked.append(reach_s)
            from_newest_s = torch.tensor(asked, dtype=torch.float64).expand(len(stamps_s), -1)
            moved = None
            if motion is not None:
                until_s = near + [h - done_s for h in left]
                moved, motion = split_motion(motion, until_s, asked, len(near))
            part, share = self._ask(
                memories, stamps_s, from_newest_s, noise, layers, moved, hindcasts
            )
            if share is not None:  # by the past that came, not by what is fed back
                believed, hindcasts = share, 0
            if believed is not None:
                newest = memories[0][:, -1][:, None, None]
                z = scaled_change(newest, part.z, believed[:, None, None])
                part = part._replace(z=z)
            part = part.with_samples(samples)
            if near:
                yield part.first(len(near))
            if not left:
                return
            if samples > 1 and len(stamps_s) == rows:  # each sample goes on from its own past
                memories = tuple(m.repeat_interleave(samples, dim=0) for m in memories)
                stamps_s = stamps_s.repeat_interleave(samples, dim=0)
                if believed is not None:
                    believed = believed.repeat_interleave(samples, dim=0)
                if noise is not None:
                    noise = noise.expand(-1, samples, -1).flatten(0, 1)[:, None]
                if motion is not None:
                    motion = motion.expand(-1, samples, -1, -1).flatten(0, 1)[:, None]
            stamp_s = stamps_s[:, -1:] + reach_s
            memory = self.remember(part.z[:, :, -1].flatten(0, 1)[:, None], stamp_s)
            memories = tuple(map(append, memories, memory))
            stamps_s = append(stamps_s, stamp_s)
            done_s += reach_s

    def predict(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Tensor,
        noise: Tensor | None = None,
        layers: Sequence[int] = (),
        motion: Tensor | None = None,
    ) -> Prediction:
        """Ask directly for instants that may differ from one row of the batch to the next.

        Args:
            memories: (B, N, ...) of context frames, oldest first.
            stamps_s: (B, N) float64, on any device.
            ahead_s: (B, S) float64, likewise, seconds from the newest context frame.
            noise: (B, K, D) queries, a future each; None for a learned query.
            layers: whose hidden tokens to give along.
            motion: (B, K or 1, S, 3) until each instant, m, m and rad; unknown where a row has a
                NaN, and when None.

        Returns:
            z (B, K, S, h, w, C); K is 1 for a learned query and one motion.
        """
        return self._ask(memories, stamps_s, ahead_s, noise, layers, motion)[0]

    def _ask(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Tensor,
        noise: Tensor | None,
        layers: Sequence[int],
        motion: Tensor | None,
        hindcasts: int = 0,
    ) -> tuple[Prediction, Tensor | None]:
        """As `predict`; with hindcasts also the share of predicted changes that came true.

        That is (B, h, w) float32, 0 to 1, as `believed_share` gives it.
        """
        z, *keys_and_values = memories
        grid, device = (z.shape[2], z.shape[3]), z.device
        past, ahead = (angles.to(device) for angles in self._angles(stamps_s, ahead_s))
        if noise is not None:
            noise = noise.to(z)
        if motion is not None and self.motion is not None:
            motion = motion.to(device, torch.float32)
        else:
            motion = self._unknown_motion(len(z), ahead_s.shape[1], device)
        column, row = self._space(*grid, device)
        run = self._wrapped or self._predict
        found = run(
            z[:, -1 - hindcasts :],
            noise,
            motion,
            *past,
            *ahead,
            *column,
            *row,
            tuple(layers),
            *keys_and_values,
        )
        share, found = (found[0], found[1:]) if hindcasts else (None, found)
        out, *hidden = (x.unflatten(3, grid) for x in found)
        return Prediction(out, dict(zip(layers, hidden, strict=True))), share

    def _angles(self, stamps_s: Tensor, ahead_s: Tensor) -> tuple[Rotation, Rotation]:
        """By the context frames' times (B, N, .), and by instants ahead of the newest (B, S, .).

        Times count from an origin near the context: a stamp of today keeps the precision of one
        near zero, where this is the reference's.
        """
        since_s = stamps_s - (stamps_s[:, -1:] / _ORIGIN_S).floor() * _ORIGIN_S
        values = self.config.rope[0]
        return rotation(since_s, values), rotation(since_s[:, -1:] + ahead_s, values)

    def _unknown_motion(self, batch: int, horizons: int, device: torch.device) -> Tensor | None:
        if self.motion is None:
            return None
        return torch.full((batch, 1, horizons, 3), math.nan, device=device)

    def predict_clip(
        self,
        frames: Tensor,
        stamps_s: Tensor,
        noise: Tensor | None = None,
        motion: Tensor | None = None,
    ) -> Tensor:
        """Predict every frame after the first from those before it, as in the paper's training.

        As under a block-causal mask, without the half of the products that it would discard.

        Args:
            frames: (B, T, h, w, C).
            stamps_s: (B, T) float64, on any device.
            noise: (B, T - 1, K, D) queries; None for a learned query.
            motion: (B, T - 1, 3) from each frame to the next; None where it is not known.

        Returns:
            (B, T - 1, K, h, w, C).
        """
        memories = self.remember(frames, stamps_s)
        predicted = [
            self.predict(
                tuple(m[:, :t] for m in memories),
                stamps_s[:, :t],
                stamps_s[:, t : t + 1] - stamps_s[:, t - 1 : t],
                None if noise is None else noise[:, t - 1],
                motion=None if motion is None else motion[:, None, t - 1 : t],
            ).z[:, :, 0]
            for t in range(1, frames.shape[1])
        ]
        return torch.stack(predicted, dim=1)

    def _predict(
        self,
        seen: Tensor,
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
            seen: (B, 1 + H, h, w, C) features of the newest frame, last, and of the H before it,
                from each of which the newest is hindcast; H may be 0.
            noise: (B, K, D) or None.
            motion: (B, K or 1, S, 3) float32; None for a model without.
            past_cos, past_sin: (B, N, .), by the context frames' times.
            ahead_cos, ahead_sin: (B, S, .), by the asked times.
            column_cos, column_sin, row_cos, row_sin: (P, .), of all patches.
            layers: whose hidden tokens to give along.
            keys_and_values: of each block, (B, N, h, w, 2 D).

        Returns:
            The share of hindcast changes that came true, (B, h, w) float32, where H is not 0;
            (B, K, S, P, C); and tokens after each of the layers, (B, K, S, P, D).
        """
        grid = (seen.shape[2], seen.shape[3])
        newest, hindcasts = seen[:, -1], seen.shape[1] - 1
        frames, horizons, patches = past_cos.shape[1], ahead_cos.shape[1], grid[0] * grid[1]
        column, row = Rotation(column_cos, column_sin), Rotation(row_cos, row_sin)
        ahead = Rotation(ahead_cos[:, :, None], ahead_sin[:, :, None])
        # In all that follows a query is a patch of an asked instant: (B, K, T, D).
        asked = [self._queries(newest.flatten(1, 2), noise).repeat(1, 1, horizons, 1)]
        where = [Rotation(*(x.flatten(1, 2) for x in joined(ahead, column, row)))]
        parts = [Part(horizons * patches, frames)]
        now = Rotation(past_cos[:, -1:], past_sin[:, -1:])
        sparse = [_on_lattice(axis, grid) for axis in (column, row)] if hindcasts else []
        rows, columns = lattice(*grid)
        known = [seen[:, -1 - left, rows, columns] for left in range(hindcasts + 1)]
        for left, before in enumerate(known[1:], start=1):
            queries = self._queries(before.flatten(1, 2), None if noise is None else 0.0 * noise)
            asked.append(queries)
            where.append(joined(now, *sparse))
            parts.append(Part(queries.shape[2], frames - left))
        q = torch.cat(asked, dim=2)
        places = Rotation(*(torch.cat(kind, dim=1) for kind in zip(*where, strict=True)))
        time = Rotation(past_cos[:, :, None, None], past_sin[:, :, None, None])
        past = joined(time, still(time, sum(self.config.rope[1:])))
        hidden: dict[int, Tensor] = {}
        of_motion: list[Tensor] = []
        if self.motion is not None and motion is not None:
            of_motion = [*self._motions(motion, patches, parts)]
        for index, (block, kept) in enumerate(zip(self.blocks, keys_and_values, strict=True)):
            # Candidates share the first block: their queries differ only after it.
            q = block(q, kept.flatten(2, 3), places, past, parts)
            if self.motion is not None and of_motion:
                q = self.motion.blocks[index](q, *of_motion)
            if index in layers:
                hidden[index] = q
        out = self.out(self.norm(q))
        is_residual = self.config.predict == "residual"
        ahead_out, *of_past = out.split([part.queries for part in parts], dim=2)
        predicted = ahead_out.unflatten(2, (horizons, patches))
        if is_residual:
            predicted = newest.flatten(1, 2)[:, None, None] + predicted
        tokens = (hidden[i][:, :, : parts[0].queries] for i in layers)
        found = predicted, *(x.unflatten(2, (horizons, patches)) for x in tokens)
        if not hindcasts:
            return found
        changes = []
        for before, one in zip(known[1:], of_past, strict=True):
            change = one[:, 0].unflatten(1, before.shape[1:3])
            changes.append(Change(change if is_residual else change - before, known[0] - before))
        return believed_share(changes, grid), *found

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

    def _queries(self, newest: Tensor, noise: Tensor | None) -> Tensor:
        """What stands at each patch of an asked instant: (B, P, C), (B, K, D) -> (B, K, P, D)."""
        if noise is None:
            assert self.query is not None
            noise = self.query.expand(newest.shape[0], 1, -1)
        q = noise[:, :, None].expand(-1, -1, newest.shape[1], -1)
        if self.query_newest is not None:
            q = q + self.query_newest(newest)[:, None]
        return q

    def draw_noise(self, *shape: int, generator: torch.Generator | None = None) -> Tensor:
        """Noise queries (*shape, D) float32 on the CPU."""
        noise = torch.randn(*shape, self.config.width, generator=generator)
        return noise * self.config.noise_std

    def _draw(self, samples: int, batch: int) -> Tensor | None:
        """The samples' noise queries (B, samples, D); fewer samples are the first of more."""
        if self.config.query != "noise":
            return None
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [self.draw_noise(1, generator=generator) for _ in range(samples)]
        return torch.cat(drawn).expand(batch, -1, -1)

    def _space(self, height: int, width: int, device: torch.device) -> tuple[Rotation, Rotation]:
        """Angles by column and row, (h * w, .), made once for each grid."""
        key = (height, width, device)
        if key not in self._grids:
            _, columns, rows = self.config.rope
            with torch.inference_mode(False):  # a training may use them later
                column, row = grid_rotations(height, width, columns, rows)
                self._grids = {key: (column.to(device), row.to(device))}
        return self._grids[key]


def _on_lattice(axis: Rotation, grid: tuple[int, int]) -> Rotation:
    """(h * w, .) -> those of the patches that are hindcast."""
    return Rotation(*(x.unflatten(0, grid)[lattice(*grid)].flatten(0, 1) for x in axis))


def _per_head(axis: Rotation, grid: tuple[int, int]) -> Rotation:
    """(h * w, .) -> (h, w, 1, .)."""
    return Rotation(*(x.unflatten(0, grid)[:, :, None] for x in axis))
