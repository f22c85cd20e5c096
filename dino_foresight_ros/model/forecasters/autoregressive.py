"""Forecasters of the next frames that take their own predictions as context for later ones."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dino_foresight_ros.model.forecasters.interface import Forecaster, FrameMemory, Prediction
from dino_foresight_ros.outputs import MAX_STEPS

_TOLERANCE = 0.01
"""How far a horizon may lie from a multiple of the frame interval, in intervals."""


class AutoregressiveForecaster(Forecaster):
    """Answers multiples of its frame interval; one sample; motion is of no use to it.

    Its memory is the features. Embedding them once for all, instead of at each forecast, would save
    less than 1 % of a pass and double the memory.
    """

    @abstractmethod
    def passes(self, context: Tensor, layers: Sequence[int] = ()) -> Iterator[tuple[Tensor, ...]]:
        """Predict pass after pass, without end, each when it is asked for.

        Args:
            context: (B, N_c, h, w, C), oldest frame first.
            layers: whose hidden tokens to give along.

        Yields:
            (B, M, h, w, C), the frames that one pass predicts; and for each layer (B, M, h, w, D).

        Raises:
            ValueError: a context of another shape, or a layer that does not exist.
        """

    def predict(self, context: Tensor) -> Tensor:
        """Predict in one pass: (B, N_c, h, w, C) -> (B, M, h, w, C). Errors as `passes`."""
        return next(self.passes(context))[0]

    def remember(self, z: Tensor, stamps_s: Tensor) -> FrameMemory:
        """The features themselves."""
        return (z,)

    def stream(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Sequence[float],
        motion: Tensor | None = None,
        samples: int = 1,
        layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:
        """As `Forecaster.stream`, a part per pass; stamps are taken to be a frame interval apart.

        Raises:
            ValueError: as `passes`; a horizon that is no multiple of `frame_interval_s`, from 1 to
                16 of them; motion; several samples.
        """
        if motion is not None:
            raise ValueError(f"a forecaster of kind {self.kind} takes no motion")
        if samples != 1:
            raise ValueError(f"samples is {samples}; a forecaster of kind {self.kind} gives 1")
        steps = self._steps(ahead_s)
        (context,) = memories
        done = 0
        for frames, *hidden in self.passes(context, layers):
            chosen = [step - 1 - done for step in steps if done < step <= done + frames.shape[1]]
            if chosen:
                picked = [_pick(x, chosen)[:, None] for x in (frames, *hidden)]
                yield Prediction(picked[0], dict(zip(layers, picked[1:], strict=True)))
            done += frames.shape[1]
            if done >= steps[-1]:
                return

    def check_horizons(self, ahead_s: Sequence[float]) -> None:
        """As `Forecaster.check_horizons`; valid are 1 to 16 multiples of `frame_interval_s`."""
        self._steps(ahead_s)

    def _steps(self, ahead_s: Sequence[float]) -> list[int]:
        text = ", ".join(f"{ahead:g}" for ahead in ahead_s)
        first, last = self.frame_interval_s, MAX_STEPS * self.frame_interval_s
        has = f"a forecaster of kind {self.kind} has {first:g}, {2 * first:g}, ... {last:g} s"
        if not all(map(math.isfinite, ahead_s)):
            raise ValueError(f"horizons {text} s are not all finite numbers: {has}")
        intervals = [ahead / self.frame_interval_s for ahead in ahead_s]
        steps = [round(count) for count in intervals]
        if any(abs(n - k) > _TOLERANCE for n, k in zip(intervals, steps, strict=True)):
            raise ValueError(
                f"horizons {text} s are not all multiples of the frame interval: {has}"
            )
        if not steps or steps != sorted(set(steps)) or steps[0] < 1 or steps[-1] > MAX_STEPS:
            raise ValueError(
                f"horizons {text} s must rise, within 1 to {MAX_STEPS} frame intervals: {has}"
            )
        return steps


def _pick(x: Tensor, chosen: Sequence[int]) -> Tensor:
    """x[:, chosen] without a copy where those follow one another."""
    first, last = chosen[0], chosen[-1]
    return x[:, first : last + 1] if last - first + 1 == len(chosen) else x[:, list(chosen)]


def append(context: Tensor, frames: Tensor) -> Tensor:
    """The newest of (B, N, ...) context and (B, M, ...) frames after it: (B, N, ...)."""
    return torch.cat([context, frames], dim=1)[:, -context.shape[1] :]
