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
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from dino_foresight_ros.model.forecasters.autoregressive import append
from dino_foresight_ros.model.forecasters.cross_attention import WorldBlock, with_modules
from dino_foresight_ros.model.forecasters.feed_back import stages
from dino_foresight_ros.model.forecasters.hindcast import MAX_HINDCASTS, scaled_change
from dino_foresight_ros.model.forecasters.interface import (
    Forecaster,
    FrameMemory,
    PieceThreads,
    Prediction,
    Wrap,
)
from dino_foresight_ros.model.forecasters.motion_conditioning import split_motion
from dino_foresight_ros.model.forecasters.rotary import Rotation, joined, rotation, still
from dino_foresight_ros.model.forecasters.world_checks import check_question
from dino_foresight_ros.model.forecasters.world_config import WorldConfig
from dino_foresight_ros.model.forecasters.world_network import WorldNetwork
from dino_foresight_ros.outputs import MAX_SAMPLES

_ORIGIN_S = 10.0
"""Times are counted from the last multiple of so many seconds before the newest frame."""


class WorldForecaster(WorldNetwork, Forecaster):
    """Predicts features at any instants from frames of any instants, on any patch grid."""

    kind = "world"
    takes_any_instants = True
    grid = None
    seed: int = 0
    """Of the noise: the same futures are drawn at every forecast."""
    _wrapped: Callable[..., tuple[Tensor, ...]] | None = None
    _threads: PieceThreads | None = None

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
        """How many futures can be drawn: 1 without noise."""
        return MAX_SAMPLES if self.config.noise_values else 1

    @property
    def takes_motion(self) -> bool:
        """As the configuration says."""
        return self.motion is not None

    @property
    def motion_speeds(self) -> tuple[float, float, float] | None:
        """As the configuration says."""
        return self.config.motion_speeds

    def with_parts(self, config: WorldConfig) -> WorldForecaster:
        """One of the same weights with fresh parts, which so far expects the same.

        Args:
            config: as this one's, with `motion` or `futures`.
        """
        twin = WorldForecaster(config)
        twin.load_state_dict(twin.state_dict() | self.state_dict())
        twin.frame_interval_s, twin.seed = self.frame_interval_s, self.seed
        return twin.to(self.out.weight)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return self.config.to_dict()

    def for_forecasts(self) -> WorldForecaster:
        """A twin with the weights of queries and keys in the order of `rotate`."""
        made = [
            with_modules(block, attend=block.attend.ordered())
            for block in cast("list[WorldBlock]", list(self.blocks))
        ]
        return with_modules(self, blocks=nn.ModuleList(made))

    def with_wrapped_core(self, wrap: Wrap) -> WorldForecaster:
        """A twin on the same weights whose pass over all blocks is wrapped."""
        twin = copy.copy(self)
        twin._wrapped = wrap(self.run_blocks)
        return twin

    def with_threads(self, threads: PieceThreads) -> WorldForecaster:
        """As `Forecaster.with_threads`: queries never attend to each other."""
        twin = copy.copy(self)
        twin._threads = threads
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
        axes = [
            _per_head(axis, (height, width)) for axis in self.grid_angles(height, width, z.device)
        ]
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
        scaled by the fraction that came true in the past, and how far futures differ by how far
        these were off, but not what is predicted of candidates: of motions that were not driven the
        past says nothing.

        Raises:
            ValueError: no frames or over 16, equal or falling stamps, a context older than
                `max_context_age_s`; horizons that do not rise or are not within 0 to 10 s; motion
                of another shape, or of a model that takes none; samples of a model that
                draws none, or of candidates.
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
        for stage in stages(ahead_s, reach_s):
            from_newest_s = torch.tensor(stage.asked_s, dtype=torch.float64)
            moved = None
            if motion is not None:
                moved, motion = split_motion(motion, stage.until_s, stage.asked_s, stage.wanted)
            part, found = self._ask(
                memories,
                stamps_s,
                from_newest_s.expand(len(stamps_s), -1),
                noise,
                layers,
                moved,
                hindcasts,
            )
            if found is not None:  # by the past that came, not by what is fed back
                believed, hindcasts = found, 0
            part = part.with_samples(samples)
            if believed is not None:
                newest = memories[0][:, -1].unflatten(0, (rows, -1))
                part = part._replace(z=scaled_change(newest, part.z, believed))
            if stage.wanted:
                yield part.first(stage.wanted)
            if stage.is_last:
                return
            if samples > 1 and len(stamps_s) == rows:  # each sample goes on from its own past
                memories = tuple(m.repeat_interleave(samples, dim=0) for m in memories)
                stamps_s = stamps_s.repeat_interleave(samples, dim=0)
                if noise is not None:
                    noise = noise.expand(-1, samples, -1).flatten(0, 1)[:, None]
                if motion is not None:
                    motion = motion.expand(-1, samples, -1, -1).flatten(0, 1)[:, None]
            stamp_s = stamps_s[:, -1:] + reach_s
            memory = self.remember(part.z[:, :, -1].flatten(0, 1)[:, None], stamp_s)
            memories = tuple(map(append, memories, memory))
            stamps_s = append(stamps_s, stamp_s)

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
            noise: (B, K, D) queries or (B, K, E) noise of blocks, a future each; None for a learned
                query, whose future is the expected one.
            layers: whose hidden tokens to give along.
            motion: (B, K or 1, S, 3) until each instant, m, m and rad; unknown where a row has a
                NaN, and when None.

        Returns:
            z (B, K, S, h, w, C); K is 1 without noise and with one motion.
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
        """As `predict`; with hindcasts also what came true of them, as `run_blocks` gives it."""
        z, *keys_and_values = memories
        grid, device = (z.shape[2], z.shape[3]), z.device
        past, ahead = (angles.to(device) for angles in self._angles(stamps_s, ahead_s))
        if noise is not None:
            noise = noise.to(z)
        if motion is not None and self.motion is not None:
            motion = motion.to(device, torch.float32)
        else:
            motion = self._unknown_motion(len(z), ahead_s.shape[1], device)
        column, row = self.grid_angles(*grid, device)

        def run(horizons: slice, hindcasts: int) -> tuple[Tensor, ...]:
            asked = Rotation(ahead.cos[:, horizons], ahead.sin[:, horizons])
            return (self._wrapped or self.run_blocks)(
                z[:, -1 - hindcasts :],
                noise,
                None if motion is None else motion[:, :, horizons],
                *past,
                *asked,
                *column,
                *row,
                tuple(layers),
                *keys_and_values,
            )

        found = self._run(run, ahead_s.shape[1], hindcasts)
        believed, found = (found[0], found[1:]) if hindcasts else (None, found)
        out, *hidden = (x.unflatten(3, grid) for x in found)
        return Prediction(out, dict(zip(layers, hidden, strict=True))), believed

    def _run(
        self, run: Callable[[slice, int], tuple[Tensor, ...]], horizons: int, hindcasts: int
    ) -> tuple[Tensor, ...]:
        """All horizons, shared out where there are threads; hindcasts go with the fewest."""
        spans = [] if self._threads is None else self._threads.spans(horizons)
        if self._threads is None or len(spans) < 2:
            return run(slice(None), hindcasts)
        pieces = [partial(run, span, hindcasts if span is spans[0] else 0) for span in spans]
        first, *others = self._threads.run(pieces[::-1])[::-1]  # the most horizons begin
        believed, first = (first[:1], first[1:]) if hindcasts else ((), first)
        return *believed, *(torch.cat(same, dim=2) for same in zip(first, *others, strict=True))

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
            noise: (B, T - 1, K, D or E), as `predict` takes it.
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

    def _draw(self, samples: int, batch: int) -> Tensor | None:
        """The samples' noise (B, samples, D or E).

        Of noise queries fewer samples are the first of more. Blocks of noise have pairs of opposite
        noise, and none for the last of an odd number, so that the mean of futures stays near the
        expected one; so the pairs of fewer samples are the first of more.

        None for a forecaster that draws none, and for one sample of blocks of noise: the expected
        future.
        """
        if not self.config.noise_values or (samples == 1 and self.futures is not None):
            return None
        generator = torch.Generator().manual_seed(self.seed)
        draws = samples if self.futures is None else samples // 2
        drawn = [self.draw_noise(1, generator=generator) for _ in range(draws)]
        if self.futures is not None:
            drawn = [noise for one in drawn for noise in (one, -one)]
            if samples % 2:
                drawn.append(torch.zeros_like(drawn[0]))
        return torch.cat(drawn).expand(batch, -1, -1)


def _per_head(axis: Rotation, grid: tuple[int, int]) -> Rotation:
    """(h * w, .) -> (h, w, 1, .)."""
    return Rotation(*(x.unflatten(0, grid)[:, :, None] for x in axis))
