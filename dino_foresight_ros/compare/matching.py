"""Which frame came at an instant that was predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dino_foresight_ros.compare.measures import Analysis


@dataclass(frozen=True)
class Moment:
    """A frame that came, as the model sees it. Stamps are nanoseconds in the camera's time base.

    Attributes:
        stamp_ns: the frame's stamp.
        frame_id: the camera's optical frame.
        seen: what the model sees in it: the truth for earlier forecasts, copy-last for its own.
        interval_ns: nominal time between the model's steps.
        model_name: name of the bundle.
        trained: False with random weights.
        depth_is_metric: whether depth is metres.
    """

    stamp_ns: int
    frame_id: str
    seen: Analysis
    interval_ns: int
    model_name: str = ""
    trained: bool = True
    depth_is_metric: bool = False

    def is_of_model_of(self, other: Moment) -> bool:
        """Whether both were described by the same model, as far as can be told."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("interval_ns", "model_name", "trained", "depth_is_metric")
        )


@dataclass(frozen=True)
class Prediction:
    """One step of a forecast.

    Attributes:
        step: 1 for the next frame, 2 for the one after it, ...
        target_ns: stamp of the predicted instant.
        horizon_s: seconds from the newest context frame to it.
        predicted: what was predicted.
    """

    step: int
    target_ns: int
    horizon_s: float
    predicted: Analysis


class Match(NamedTuple):
    """A prediction and the frame that came at its instant.

    Attributes:
        origin: the newest frame that the forecast was made from.
        prediction: one of its steps.
        arrived: the frame nearest to the predicted instant.
    """

    origin: Moment
    prediction: Prediction
    arrived: Moment

    @property
    def offset_ns(self) -> int:
        """Nanoseconds from the predicted instant to the frame; negative for an earlier frame."""
        return self.arrived.stamp_ns - self.prediction.target_ns


class Matcher:
    """Keeps predictions until their instants have come, in bounded memory.

    Each prediction is matched once, with the frame nearest to its instant (of two equally near
    ones the newer), as soon as a frame at or after that instant is there. `dropped` counts those
    that are not, by reason: `no_frame` (none within the tolerance), `time_jump` (stamps went back),
    `model_changed`, `memory`.
    """

    def __init__(self, tolerance: float, max_bytes: int) -> None:
        """Prepare.

        Args:
            tolerance: how far a frame may lie from a predicted instant, as a share of the model's
                frame interval; may be changed.
            max_bytes: of arrays that wait; beyond it the oldest predictions go; may be changed.
        """
        self.tolerance = tolerance
        self.max_bytes = max_bytes
        self.dropped: Counter[str] = Counter()
        self._newest: Moment | None = None
        self._pending: list[tuple[Moment, Prediction]] = []

    @property
    def pending(self) -> int:
        """Predictions whose instants have not come."""
        return len(self._pending)

    def clear(self, reason: str) -> None:
        """Drop what waits for a reason, and forget the newest frame."""
        self.dropped[reason] += len(self._pending)
        self._pending.clear()
        self._newest = None

    def take(self, moment: Moment, predictions: Sequence[Prediction]) -> list[Match]:
        """Take a frame with the forecast made from it; the matches it completes, oldest first.

        A frame that came before counts for nothing the second time.
        """
        previous = self._newest
        if previous is not None and moment.stamp_ns == previous.stamp_ns:
            return []
        if previous is not None and not moment.is_of_model_of(previous):
            self.clear("model_changed")
            previous = None
        elif previous is not None and moment.stamp_ns < previous.stamp_ns:
            self.clear("time_jump")
            previous = None
        self._newest = moment
        matches = self._settle(moment, previous)
        self._pending += [(moment, prediction) for prediction in predictions]
        self._limit_memory()
        return matches

    def _settle(self, moment: Moment, previous: Moment | None) -> list[Match]:
        due = [(o, p) for o, p in self._pending if p.target_ns <= moment.stamp_ns]
        self._pending = [(o, p) for o, p in self._pending if p.target_ns > moment.stamp_ns]
        frames = [moment] if previous is None else [moment, previous]
        matches = []
        for origin, prediction in due:
            # min takes the first of equals: the newer frame.
            nearest = min(frames, key=lambda frame: abs(frame.stamp_ns - prediction.target_ns))
            match = Match(origin, prediction, nearest)
            if abs(match.offset_ns) <= self.tolerance * origin.interval_ns:
                matches.append(match)
            else:
                self.dropped["no_frame"] += 1
        return matches

    def _limit_memory(self) -> None:
        while self._pending and self._bytes() > self.max_bytes:
            self._pending.pop(0)
            self.dropped["memory"] += 1

    def _bytes(self) -> int:
        origins = {id(origin): origin.seen.nbytes for origin, _ in self._pending}
        return sum(origins.values()) + sum(p.predicted.nbytes for _, p in self._pending)
