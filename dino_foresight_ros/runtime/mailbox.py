"""Where frames wait for the engine: the newest one, and those that its context may need."""

from __future__ import annotations

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

    def take(self, encoded_ns: list[int]) -> tuple[Frame, list[Frame], list[Frame]]:
        """Take the newest frame out; there must be one.

        Args:
            encoded_ns: stamps that the engine's context holds already.

        Returns:
            The newest frame; kept frames that fill holes of its context, oldest first; kept
            frames that are of no use any more.
        """
        assert self.newest is not None
        newest = self.newest
        kept = [frame for frame in self._kept if frame.stamp_ns < newest.stamp_ns]
        self._kept = [frame for frame in self._kept if frame.stamp_ns >= newest.stamp_ns]
        self.newest = None
        needed = self._fill_holes(newest.stamp_ns, kept, encoded_ns)
        return newest, needed, [frame for frame in kept if frame not in needed]

    def clear(self) -> list[Frame]:
        """Take everything out."""
        left = [*self._kept, *([self.newest] if self.newest is not None else [])]
        self.newest, self._kept = None, []
        return left

    def _fill_holes(self, newest_ns: int, kept: list[Frame], encoded_ns: list[int]) -> list[Frame]:
        chosen: list[Frame] = []
        # A frame older than what the engine has seen would come too late.
        usable = [f for f in kept if not encoded_ns or f.stamp_ns > encoded_ns[-1]]
        for k in range(self.rule.frames - 1, 0, -1):
            target_ns = newest_ns - k * self.rule.interval_ns
            if any(abs(stamp - target_ns) <= self.rule.tolerance_ns for stamp in encoded_ns):
                continue
            # Also while other holes stay open: the contexts that follow will need it.
            near = [f for f in usable if abs(f.stamp_ns - target_ns) <= self.rule.tolerance_ns]
            if near:
                chosen.append(_nearest(near, target_ns))
        # Contexts to come are centred elsewhere: no instant may be left without a frame within
        # the tolerance, as long as there is one to be had.
        covered = [newest_ns, *encoded_ns, *(f.stamp_ns for f in chosen)]
        for frame in usable:
            if all(abs(frame.stamp_ns - stamp) > self.rule.tolerance_ns for stamp in covered):
                chosen.append(frame)
                covered.append(frame.stamp_ns)
        return sorted(chosen, key=lambda frame: frame.stamp_ns)


def _nearest(frames: list[Frame], target_ns: int) -> Frame:
    return min(frames, key=lambda frame: abs(frame.stamp_ns - target_ns))
