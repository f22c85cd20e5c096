"""Notices that a stream of frames stopped, came back, or was never there."""

from __future__ import annotations

from enum import Enum


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
