"""Matches predictions with the frames that come at their instants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.outputs import UnmatchedReason
from dino_foresight_ros.scene import Scene


def nearest_frames(stamps_ns: NDArray[np.int64], targets_ns: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each instant the frame nearest to it; of two equally near ones the newer.

    Args:
        stamps_ns: (N,) rising stamps, at least one.
        targets_ns: instants, any shape.

    Returns:
        Indices into `stamps_ns`, of the targets' shape.
    """
    after = np.searchsorted(stamps_ns, targets_ns).clip(0, len(stamps_ns) - 1)
    before = (after - 1).clip(0)
    is_before = targets_ns - stamps_ns[before] < np.abs(stamps_ns[after] - targets_ns)
    return np.where(is_before, before, after)


class ArrivedFrame(Protocol):
    """A frame that came."""

    @property
    def stamp_ns(self) -> int:
        """Its stamp, nanoseconds in the camera's time base."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory that it holds."""
        ...


F = TypeVar("F", bound=ArrivedFrame)


@dataclass(frozen=True)
class Match(Generic[F]):
    """A prediction whose instant has come.

    Attributes:
        origin: the newest frame that the forecast was made from.
        predicted: one of its steps.
        arrived: the frame nearest to the predicted instant; None without one near enough.
    """

    origin: F
    predicted: Scene
    arrived: F | None

    @property
    def offset_ns(self) -> int:
        """Nanoseconds from the predicted instant to the frame; negative for an earlier frame."""
        return 0 if self.arrived is None else self.arrived.stamp_ns - self.predicted.stamp_ns


@dataclass(frozen=True)
class _Waiting(Generic[F]):
    """A prediction whose instant has not come."""

    origin: F
    predicted: Scene
    tolerance_ns: float


class Matcher(Generic[F]):
    """Matches predictions with the frames of their instants, as both come. Memory is bounded.

    A prediction is settled once, as soon as a frame at or after its instant is there. A forecast
    may come later than the frames of its instants. `dropped` counts predictions that met no frame,
    by reason: `no_frame` (none within the tolerance), `memory`, and what `clear` is told.
    """

    def __init__(
        self, tolerance: float, max_bytes: int, kept_frames: int = 2, jitter_ns: int = 0
    ) -> None:
        """Start empty.

        Args:
            tolerance: how far a frame may lie from a predicted instant, as a fraction of the
                forecast's interval; may be changed, for forecasts to come.
            max_bytes: of the predictions that wait and the frames they were made from; beyond it
                the oldest go; may be changed.
            kept_frames: how many of the newest frames are known.
            jitter_ns: a stamp so much before the newest one is late; one further back means that
                time itself jumped back.
        """
        self.tolerance = tolerance
        self.max_bytes = max_bytes
        self.dropped: Counter[str] = Counter()
        self._kept_frames, self._jitter_ns = kept_frames, jitter_ns
        self._frames: list[F] = []
        self._waiting: list[_Waiting[F]] = []

    @property
    def pending(self) -> int:
        """Predictions whose instants have not come."""
        return len(self._waiting)

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest frame."""
        return self._frames[-1].stamp_ns if self._frames else None

    def frame_at(self, stamp_ns: int) -> F | None:
        """The known frame with this very stamp."""
        return next((frame for frame in self._frames if frame.stamp_ns == stamp_ns), None)

    def is_jump_back(self, stamp_ns: int) -> bool:
        """Whether a frame with this stamp would mean that time jumped back."""
        newest_ns = self.newest_ns
        return newest_ns is not None and stamp_ns < newest_ns - self._jitter_ns

    def add_frame(self, frame: F) -> list[Match[F]]:
        """Take a frame; the predictions that it settles, oldest first.

        After a jump back in time nothing from before it is matched any more.
        """
        if self.is_jump_back(frame.stamp_ns):
            self.clear(UnmatchedReason.TIME_JUMP)
        place = len(self._frames)
        while place and self._frames[place - 1].stamp_ns > frame.stamp_ns:
            place -= 1
        self._frames.insert(place, frame)
        settled = self._settle(self._frames[-1].stamp_ns)
        del self._frames[: -self._kept_frames]
        return settled

    def add_forecast(
        self, origin: F, predictions: Sequence[Scene], interval_ns: int
    ) -> list[Match[F]]:
        """Take a forecast; those of its predictions whose instants have come already.

        Args:
            origin: the newest frame that it was made from.
            predictions: its steps.
            interval_ns: between them.
        """
        tolerance_ns = self.tolerance * interval_ns
        self._waiting += [_Waiting(origin, scene, tolerance_ns) for scene in predictions]
        newest_ns = self.newest_ns
        settled = [] if newest_ns is None else self._settle(newest_ns)
        while self._waiting and self._bytes() > self.max_bytes:
            del self._waiting[0]
            self.dropped[UnmatchedReason.MEMORY] += 1
        return settled

    def discard(self, origin: F) -> None:
        """Wait no longer for what was predicted from a frame."""
        self._waiting = [one for one in self._waiting if one.origin is not origin]

    def flush(self) -> list[Match[F]]:
        """The stream ended: settle everything with the frames that came."""
        return self._settle(None)

    def clear(self, reason: str) -> None:
        """Forget everything that waits, for a reason, and all frames."""
        self.dropped[reason] += len(self._waiting)
        self._waiting.clear()
        self._frames.clear()

    def _settle(self, until_ns: int | None) -> list[Match[F]]:
        """Match what was predicted of instants until a stamp; all of it where that is None."""
        is_due = [until_ns is None or w.predicted.stamp_ns <= until_ns for w in self._waiting]
        due = [w for w, now in zip(self._waiting, is_due, strict=True) if now]
        if not due:
            return []
        self._waiting = [w for w, now in zip(self._waiting, is_due, strict=True) if not now]
        stamps = np.array([frame.stamp_ns for frame in self._frames], np.int64)
        targets = np.array([w.predicted.stamp_ns for w in due], np.int64)
        rows = nearest_frames(stamps, targets) if len(stamps) else None
        matches = []
        for place, one in enumerate(due):
            arrived = None if rows is None else self._frames[rows[place]]
            match = Match(one.origin, one.predicted, arrived)
            if arrived is None or abs(match.offset_ns) > one.tolerance_ns:
                match = Match(one.origin, one.predicted, None)
                self.dropped[UnmatchedReason.NO_FRAME] += 1
            matches.append(match)
        return matches

    def _bytes(self) -> int:
        origins = {id(w.origin): w.origin.nbytes for w in self._waiting}
        return sum(origins.values()) + sum(w.predicted.nbytes for w in self._waiting)
