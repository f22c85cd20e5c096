"""Decides what a frame is good for: refused, for the context only, or worth forecasting."""

from __future__ import annotations

from collections.abc import Callable

from dino_foresight_ros.ros.rate_limit import RateLimit


class FrameGate:
    """The switch, the rate limit and the age limit of a node's frames.

    `holds_back` is called in the executor's thread, `too_old` in the worker's.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        """Prepare; `now_ns` gives the node's clock, which frames' stamps are compared with."""
        self.is_enabled = True
        self.max_age_ms = 0.0
        self.same_instant_ns = 0
        """Stamps of several cameras this close together count as one instant."""
        self._limit = RateLimit()
        self._now_ns = now_ns
        self._instant_ns = 0
        self._judged: set[str] = set()  # cameras whose frame of that instant was judged
        self._holds = False

    @property
    def max_rate_hz(self) -> float:
        """Most frames per second and camera that are let through; 0 sets no limit."""
        return self._limit.max_rate_hz

    @max_rate_hz.setter
    def max_rate_hz(self, value: float) -> None:
        self._limit.max_rate_hz = value

    def holds_back(self, camera: str, stamp_ns: int, now_s: float) -> bool:
        """Whether the rate limit leaves a frame to the context.

        Frames of several cameras that belong to one instant pass or stay together.

        Args:
            camera: which one took it.
            stamp_ns: its stamp.
            now_s: seconds of a clock that runs, whatever stamps do.
        """
        if self.max_rate_hz <= 0.0:
            return False
        near = abs(stamp_ns - self._instant_ns) <= self.same_instant_ns
        if not near or not self._judged or camera in self._judged:
            self._instant_ns, self._judged = stamp_ns, set()
            self._holds = not self._limit.allows(now_s)
        self._judged.add(camera)
        return self._holds

    def age_s(self, stamp_ns: int) -> float:
        """Age of a stamp by the node's clock, seconds; negative for one in the future."""
        return (self._now_ns() - stamp_ns) / 1e9

    def too_old(self, stamp_ns: int) -> bool:
        """Whether a frame is older than `max_age_ms`; never where that is 0."""
        limit_s = self.max_age_ms / 1000.0
        return limit_s > 0.0 and self.age_s(stamp_ns) > limit_s
