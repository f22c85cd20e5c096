"""A limit on how often something is done."""

from __future__ import annotations


class RateLimit:
    """Lets events through, at most so many per second on average; the caller's clock gives times.

    Due times advance by whole periods as long as events keep up, so that a limit of 10 Hz on a
    30 Hz stream with jitter gives 10 Hz and not the 7.5 Hz of "so long after the last one".
    """

    def __init__(self, max_rate_hz: float = 0.0) -> None:
        self.max_rate_hz = max_rate_hz
        self._due_s: float | None = None

    def allows(self, now_s: float, early: float = 0.0) -> bool:
        """Whether an event may happen now; it counts as having happened then.

        `max_rate_hz` 0 sets no limit; it may change between events.

        Args:
            now_s: seconds.
            early: how much earlier than due it may happen, in periods (under 1); the next
                one is due no earlier for that.
        """
        if self.max_rate_hz <= 0.0:
            self._due_s = None
            return True
        period_s = 1.0 / self.max_rate_hz
        due_s = self._due_s
        # A due time further ahead than two periods stems from a lower limit, or time went back.
        if due_s is not None and early * period_s < due_s - now_s <= 2.0 * period_s:
            return False
        if due_s is None or not -early * period_s <= now_s - due_s < period_s:
            due_s = now_s
        self._due_s = due_s + period_s
        return True

    def is_overdue(self, now_s: float) -> bool:
        """Whether an event has been due for longer than half a period."""
        return self._due_s is not None and (now_s - self._due_s) * self.max_rate_hz > 0.5
