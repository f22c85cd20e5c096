"""Watches a stream of frames: whether it comes, and how often."""

from __future__ import annotations

from collections import deque
from enum import Enum
from statistics import median_low


class StreamChange(Enum):
    """What to say about a stream, once each time."""

    NEVER_STARTED = "never started"
    STOPPED = "stopped"
    RESUMED = "resumed"


class StreamWatch:
    """Looks at the times of frames; the caller's clock gives every `now_s` (seconds)."""

    def __init__(self, timeout_s: float, now_s: float) -> None:
        self.timeout_s = timeout_s
        self._last_s = now_s
        self._seen = False
        self._silent = False

    @property
    def is_silent(self) -> bool:
        """Whether the stream counts as stopped or never started."""
        return self._silent

    def age_s(self, now_s: float) -> float:
        """Seconds since the last frame, or since the start of the watch."""
        return now_s - self._last_s

    def frame(self, now_s: float) -> StreamChange | None:
        """A frame came."""
        resumed = self._silent and self._seen
        self._last_s, self._seen, self._silent = now_s, True, False
        return StreamChange.RESUMED if resumed else None

    def check(self, now_s: float) -> StreamChange | None:
        """To be called now and then."""
        if self._silent or now_s - self._last_s < self.timeout_s:
            return None
        self._silent = True
        return StreamChange.STOPPED if self._seen else StreamChange.NEVER_STARTED


class PeriodWatch:
    """The usual time between the stamps of a stream."""

    def __init__(self, least: int = 4, most: int = 15) -> None:
        """Prepare.

        Args:
            least: intervals that have to be known before there is a period.
            most: of the newest intervals, whose median it is.
        """
        self._least = least
        self._intervals_ns: deque[int] = deque(maxlen=most)
        self._last_ns: int | None = None

    def frame(self, stamp_ns: int) -> None:
        """A frame with this stamp came; one that is not newer than the last counts for nothing."""
        last_ns = self._last_ns
        if last_ns is not None and last_ns - stamp_ns > 1_000_000_000:  # a recording begins anew
            last_ns = None
        if last_ns is None:
            self._last_ns = stamp_ns
        elif stamp_ns > last_ns:
            self._intervals_ns.append(stamp_ns - last_ns)
            self._last_ns = stamp_ns

    def restart(self) -> None:
        """Forget what was."""
        self._intervals_ns.clear()
        self._last_ns = None

    @property
    def period_ns(self) -> int | None:
        """Median of the newest intervals; None while too few are known."""
        if len(self._intervals_ns) < self._least:
            return None
        return median_low(self._intervals_ns)


class StampWatch:
    """For how long the newest stamp has been the same, by a clock that may stand still."""

    def __init__(self) -> None:
        self._stamp_ns: int | None = None
        self._since_ns = 0

    def age_s(self, stamp_ns: int, now_ns: int) -> float:
        """Seconds since this stamp was first given; a clock that goes back begins anew.

        Args:
            stamp_ns: of the newest frame.
            now_ns: of the node's clock, which is not that of the stamps where a recording is
                played without its clock.
        """
        if stamp_ns != self._stamp_ns or now_ns < self._since_ns:
            self._stamp_ns, self._since_ns = stamp_ns, now_ns
        return (now_ns - self._since_ns) / 1e9
