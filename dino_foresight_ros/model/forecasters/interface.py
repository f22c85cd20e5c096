"""The interface of forecasters: remember a frame, forecast from what is remembered.

Everything above a forecaster (engine, evaluation, benchmark, training of heads) knows only this.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dino_foresight_ros.outputs import MAX_STEPS, horizons_problem

FrameMemory = tuple[Tensor, ...]
"""What a forecaster keeps of frames: tensors of its own choice with the frames' leading dimensions.

Memories of several frames are stacked along dimension 1: (B, ...) each -> (B, N, ...).
"""


Wrap = Callable[[Callable[..., tuple[Tensor, ...]]], Callable[..., tuple[Tensor, ...]]]


class PieceThreads(Protocol):
    """Threads that compute independent pieces side by side."""

    def spans(self, count: int) -> list[slice]:
        """The parts of so many things that threads take, one each."""

    def run(self, pieces: Sequence[Callable[[], Any]]) -> list[Any]:
        """What each piece gives, in their order."""


class Prediction(NamedTuple):
    """Predicted frames.

    Attributes:
        z: (B, samples, S, h, w, C) features.
        hidden: layer -> (B, samples, S, h, w, D), the predicted frames' tokens after that layer of
            the forecaster; only of layers that were asked for.
    """

    z: Tensor
    hidden: Mapping[int, Tensor] = {}

    def first(self, horizons: int) -> Prediction:
        """The first horizons of it."""
        hidden = {layer: tokens[:, :, :horizons] for layer, tokens in self.hidden.items()}
        return Prediction(self.z[:, :, :horizons], hidden)

    def with_samples(self, samples: int) -> Prediction:
        """(B, samples, ...) of what may be (B * samples, 1, ...)."""
        if self.z.shape[1] == samples:
            return self
        hidden = {i: x.flatten(0, 1).unflatten(0, (-1, samples)) for i, x in self.hidden.items()}
        return Prediction(self.z.flatten(0, 1).unflatten(0, (-1, samples)), hidden)

    @classmethod
    def join(cls, parts: Iterable[Prediction]) -> Prediction:
        """Put predictions of successive horizons together."""
        found = list(parts)
        if len(found) == 1:
            return found[0]
        layers = found[0].hidden
        hidden = {i: torch.cat([part.hidden[i] for part in found], dim=2) for i in layers}
        return cls(torch.cat([part.z for part in found], dim=2), hidden)


class Forecaster(nn.Module, ABC):
    """Predicts the features of future frames from what it remembers of past ones.

    Times are seconds in any one base, float64 on the CPU. Features and memories are in the number
    format and on the device of the forecaster's weights.

    Attributes:
        kind: name of this kind of forecaster in bundle.yaml.
        frame_interval_s: nominal seconds from frame to frame; a bundle sets its own.
    """

    kind: ClassVar[str]
    takes_any_instants: ClassVar[bool] = False
    """Whether context frames may lie at any distances; else they are `frame_interval_s` apart."""
    frame_interval_s: float = 1.0

    @property
    @abstractmethod
    def context_frames(self) -> int:
        """N_c, how many frames it forecasts from."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """C, values per patch in and out."""

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int] | None:
        """(h, w) rows and columns of the patch grid; None for one that takes any."""

    @property
    def max_context_age_s(self) -> float:
        """How much older than the newest frame a context frame may be, seconds."""
        return math.inf

    @property
    def context_spacing_s(self) -> float:
        """Least distance at which context frames are useful, seconds; 0 for any."""
        return 0.0

    @property
    def max_samples(self) -> int:
        """How many futures can be drawn of one context."""
        return 1

    @property
    def layers(self) -> int:
        """How many of its layers' tokens heads can read, counted from 0; 0 where none."""
        return 0

    @property
    def width(self) -> int:
        """D, values per token of those layers."""
        return 0

    @property
    def takes_motion(self) -> bool:
        """Whether it can be told how the camera's base moves until the asked instants."""
        return False

    @property
    def motion_speeds(self) -> tuple[float, float, float] | None:
        """The fastest motion it was trained on: m/s along, m/s across, rad/s; None if unknown."""
        return None

    @abstractmethod
    def remember(self, z: Tensor, stamps_s: Tensor) -> FrameMemory:
        """Compute once, when frames arrive, what forecasts will need of them.

        Args:
            z: (..., h, w, C) features; (B, h, w, C) for a frame each of B cameras, or
                (B, N, h, w, C) for whole contexts.
            stamps_s: (...) float64 on the CPU, when the frames were taken.

        Returns:
            Tensors with the same leading dimensions.
        """

    def with_options(self, **changes: Any) -> Forecaster:
        """A twin on the same weights with other options that no weight depends on.

        Raises:
            ValueError: an option that this kind does not have.
        """
        if not changes:
            return self
        raise ValueError(f"a forecaster of kind {self.kind} has no option {', '.join(changes)}")

    def check_horizons(self, ahead_s: Sequence[float]) -> None:
        """Check seconds ahead, each of which will be asked for.

        Raises:
            ValueError: none, over 16, one not within 0 to 10 s, an order that does not rise, or
                instants that this kind does not answer.
        """
        problem = horizons_problem(ahead_s)
        if problem is not None:
            raise ValueError(problem)

    @abstractmethod
    def stream(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Sequence[float],
        motion: Tensor | None = None,
        samples: int = 1,
        layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:
        """Forecast in parts, each computed when it is asked for.

        So that a part can be decoded while the next one is predicted.

        Args:
            memories: (B, N_c, ...) of context frames, oldest first.
            stamps_s: (B, N_c) float64 on the CPU, when those were taken.
            ahead_s: S rising horizons, seconds from the newest context frame.
            motion: (B, S, 3) metres forward and to the left and radians to the left (REP-103)
                that the camera's base moves from the newest context frame until each horizon; a
                row with a NaN, or None, where that is not known. (B, K, S, 3): K candidates, whose
                predictions take the place of the samples.
            samples: how many futures to draw; 1 with candidates.
            layers: whose hidden tokens to give along.

        Yields:
            Predictions of successive horizons, S in all.

        Raises:
            ValueError: contexts of another shape, or something that this kind cannot answer.
        """

    def forecast(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Sequence[float],
        motion: Tensor | None = None,
        samples: int = 1,
    ) -> Tensor:
        """Forecast all horizons: (B, samples or K, S, h, w, C). Arguments, errors as `stream`."""
        return Prediction.join(self.stream(memories, stamps_s, ahead_s, motion, samples)).z

    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Forecast the next frames of evenly spaced ones.

        Args:
            context: (B, N_c, h, w, C), oldest frame first.
            steps: 1 to 16.

        Returns:
            (B, steps, h, w, C), at multiples of `frame_interval_s`.

        Raises:
            ValueError: steps out of range, or a context of another shape.
        """
        return self.forecast(*self.evenly_spaced(context, steps))[:, 0]

    def forward(self, context: Tensor) -> Tensor:
        """Forecast the next frame: (B, N_c, h, w, C) -> (B, h, w, C). Errors as `rollout`."""
        return self.rollout(context, 1)[:, 0]

    def evenly_spaced(self, context: Tensor, steps: int) -> tuple[FrameMemory, Tensor, list[float]]:
        """The arguments of `stream` and `forecast` for frames `frame_interval_s` apart.

        Args:
            context: (B, N, h, w, C), oldest frame first.
            steps: how many horizons, from the next frame on.

        Returns:
            Memories, stamps that end at 0 s, and horizons.

        Raises:
            ValueError: steps out of range.
        """
        if not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"steps is {steps}; it must be 1 to {MAX_STEPS}")
        frames = torch.arange(1 - context.shape[1], 1, dtype=torch.float64)
        stamps_s = (frames * self.frame_interval_s).expand(len(context), -1)
        ahead_s = [step * self.frame_interval_s for step in range(1, steps + 1)]
        return self.remember(context, stamps_s), stamps_s, ahead_s

    def for_forecasts(self) -> Forecaster:
        """A twin for weights that change no more, with what can be computed of them in advance."""
        return self

    @abstractmethod
    def with_wrapped_core(self, wrap: Wrap) -> Forecaster:
        """A twin on the same weights whose most expensive function is wrapped, say compiled.

        Args:
            wrap: function of tensors and plain values -> one that gives the same.
        """

    def with_threads(self, threads: PieceThreads) -> Forecaster:
        """A twin on the same weights whose threads share horizons that are independent."""
        return self

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Shape and options as plain values for bundle.yaml; `build_forecaster` reads them."""

    @property
    def part(self) -> nn.Module:
        """The module whose tensors are the forecaster's file in a bundle."""
        return self
