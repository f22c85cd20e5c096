"""Decides what a frame is good for: refused, for the context only, or worth forecasting."""

from __future__ import annotations

from collections.abc import Callable

from dino_foresight_ros.ros.rate_limit import RateLimit

_EARLY = 0.5
"""How much earlier than due, in periods, a camera's frame may go with those of the others."""


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
        self._max_rate_hz = 0.0
        self._limits: dict[str, RateLimit] = {}
        self._now_ns = now_ns
        self._instant_ns = 0
        self._judged: set[str] = set()  # cameras whose frame of that instant was judged
        self._holds = False

    @property
    def max_rate_hz(self) -> float:
        """Most frames per second and camera that are let through; 0 sets no limit."""
        return self._max_rate_hz

    @max_rate_hz.setter
    def max_rate_hz(self, value: float) -> None:
        self._max_rate_hz = value
        for limit in self._limits.values():
            limit.max_rate_hz = value

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
        limit = self._limits.setdefault(camera, RateLimit(self.max_rate_hz))
        near = abs(stamp_ns - self._instant_ns) <= self.same_instant_ns
        joins = near and bool(self._judged) and camera not in self._judged
        if joins and not self._holds:  # with the others, as long as that suits its own rate
            self._judged.add(camera)
            return not limit.allows(now_s, early=_EARLY)
        if joins and not limit.is_overdue(now_s):
            self._judged.add(camera)
            return True
        self._instant_ns, self._judged = stamp_ns, {camera}
        self._holds = not limit.allows(now_s)
        return self._holds

    def age_s(self, stamp_ns: int) -> float:
        """Age of a stamp by the node's clock, seconds; negative for one in the future."""
        return (self._now_ns() - stamp_ns) / 1e9

    def too_old(self, stamp_ns: int) -> bool:
        """Whether a frame is older than `max_age_ms`; never where that is 0."""
        limit_s = self.max_age_ms / 1000.0
        return limit_s > 0.0 and self.age_s(stamp_ns) > limit_s
