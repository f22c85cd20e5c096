"""Means over the newest forecasts of one step."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dino_foresight_ros.compare.measures import Difference


class Running(NamedTuple):
    """Means over a window, of the forecasts and of copy-last.

    Each measure counts where both could be measured, so that the two are of the same frames.

    Attributes:
        forecasts: how many are in the window.
        forecast, copy: the means; NaN where nothing could be measured.
    """

    forecasts: int
    forecast: Difference
    copy: Difference

    @property
    def skill(self) -> float:
        """1 - mean feature error / that of copy-last."""
        return skill_of(self.forecast.feature_error, self.copy.feature_error)


def skill_of(error: float, copy_error: float) -> float:
    """1 perfect, 0 as good as copy-last, below 0 worse; NaN where copy-last makes no error."""
    return 1.0 - error / copy_error if copy_error > 0.0 else math.nan


class RunningSkill:
    """The differences of the newest forecasts of one step, in fixed memory."""

    def __init__(self, window: int) -> None:
        self._rows = np.zeros((window, 2, len(Difference._fields)))
        self._taken = 0

    @property
    def window(self) -> int:
        """How many forecasts count at most."""
        return len(self._rows)

    def resize(self, window: int) -> None:
        """Let more or fewer forecasts count from now on; the newest stay."""
        if window == self.window:
            return
        oldest_first = np.roll(self._rows, -self._taken, axis=0)
        kept = oldest_first[self.window - self._count() :][-window:]
        self._rows = np.zeros((window, *kept.shape[1:]))
        self._rows[: len(kept)] = kept
        self._taken = len(kept)

    def add(self, forecast: Difference, copy: Difference) -> Running:
        """Take one more and give the means with it."""
        self._rows[self._taken % self.window] = forecast, copy
        self._taken += 1
        return self.means()

    def means(self) -> Running:
        """The means now."""
        count = self._count()
        rows = self._rows[:count]
        measured = np.asarray(np.isfinite(rows).all(axis=1))
        counts = measured.sum(axis=0)
        sums = np.where(measured[:, None], rows, 0.0).sum(axis=0)
        means = np.full_like(sums, math.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return Running(count, *(Difference(*row.tolist()) for row in means))

    def _count(self) -> int:
        return min(self._taken, self.window)
