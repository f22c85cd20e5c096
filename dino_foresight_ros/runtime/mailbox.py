"""Where frames wait for the engine: the newest one, and those that its context may need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

SUPERSEDED = "superseded"
"""What a frame counts as that a newer one replaced."""


@dataclass(frozen=True)
class Frame:
    """A frame on its way: whatever the sender handed over, not decoded yet.

    Attributes:
        payload: what the worker's `decode` hook turns into an (H, W, 3) uint8 RGB array.
        stamp_ns: its time stamp, nanoseconds.
        received_s: when it was handed over, seconds of `time.monotonic`.
        camera: which one took it; empty where there is only one.
        unused: what it counts as when it is given up for a newer frame, used for nothing.
    """

    payload: Any
    stamp_ns: int
    received_s: float
    camera: str = ""
    unused: str = SUPERSEDED


class Rule(Protocol):
    """What is needed of `ContextRule`."""

    @property
    def frames(self) -> int: ...
    @property
    def interval_ns(self) -> int: ...
    @property
    def tolerance_ns(self) -> int: ...
    @property
    def span_ns(self) -> int: ...


@dataclass
class Mailbox:
    """One place for the newest frame; a newer one replaces it.

    A model that is slower than its frame interval would never see frames close enough together
    to fill a context. So replaced frames are kept for a while, at most two per interval and none
    older than a context; when the newest frame is taken, those that fill holes of its context,
    or would leave holes in later ones, go with it. Memory is bounded. Not safe from several threads
    by itself.
    """

    rule: Rule
    newest: Frame | None = None
    _kept: list[Frame] = field(default_factory=list)

    def put(self, frame: Frame) -> list[Frame]:
        """Put in a newer frame.

        Returns:
            Frames that are of no use any more.
        """
        replaced, self.newest = self.newest, frame
        useless = [] if replaced is None else self._append(replaced)
        oldest_ns = frame.stamp_ns - self.rule.span_ns
        useless += [f for f in self._kept if not oldest_ns <= f.stamp_ns < frame.stamp_ns]
        self._kept = [f for f in self._kept if oldest_ns <= f.stamp_ns < frame.stamp_ns]
        return useless

    def keep(self, frame: Frame) -> list[Frame]:
        """Put in a frame that is not to be forecast, only for the context of those to come.

        Returns:
            Frames that are of no use any more.
        """
        oldest_ns = frame.stamp_ns - self.rule.span_ns
        useless = [f for f in self._kept if not oldest_ns <= f.stamp_ns < frame.stamp_ns]
        self._kept = [f for f in self._kept if oldest_ns <= f.stamp_ns < frame.stamp_ns]
        return useless + self._append(frame)

    def _append(self, frame: Frame) -> list[Frame]:
        """Keep a frame, if it is not too close to the last one."""
        spacing_ns = self.rule.interval_ns // 2
        if self._kept and frame.stamp_ns - self._kept[-1].stamp_ns < spacing_ns:
            return [frame]
        self._kept.append(frame)
        return []

    def take(
        self, needed: Callable[[int, Sequence[int]], list[int]]
    ) -> tuple[Frame, list[Frame], list[Frame]]:
        """Take the newest frame out; there must be one.

        Args:
            needed: (stamp of the newest frame, stamps of the kept ones before it) -> indices of
                those that the engine should encode first.

        Returns:
            The newest frame; kept frames that are needed before it, oldest first; kept frames that
            are of no use any more.
        """
        assert self.newest is not None
        newest = self.newest
        kept = [frame for frame in self._kept if frame.stamp_ns < newest.stamp_ns]
        self._kept = [frame for frame in self._kept if frame.stamp_ns >= newest.stamp_ns]
        self.newest = None
        chosen = needed(newest.stamp_ns, [frame.stamp_ns for frame in kept])
        useless = [frame for index, frame in enumerate(kept) if index not in chosen]
        return newest, [kept[index] for index in chosen], useless

    def clear(self) -> list[Frame]:
        """Take everything out."""
        left = [*self._kept, *([self.newest] if self.newest is not None else [])]
        self.newest, self._kept = None, []
        return left
