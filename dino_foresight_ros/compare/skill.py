"""The skill of one camera's forecasts, as the instants that they were made for come."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.compare.matching import Match, Matcher, Moment, Prediction
from dino_foresight_ros.compare.measures import Difference, FloatImage, compare, sizes_differ
from dino_foresight_ros.compare.window import Running, RunningSkill, skill_of


@dataclass(frozen=True)
class Judgement:
    """How well one step of a forecast met the frame that came.

    Attributes:
        match: the prediction and the frame.
        forecast, copy: how far the forecast, and copy-last, were off.
        running: means over the window, this forecast included.
        patch_errors: (h, w) float32, the forecast's feature error by patch; None without features.
    """

    match: Match
    forecast: Difference
    copy: Difference
    running: Running
    patch_errors: FloatImage | None

    @property
    def skill(self) -> float:
        """1 - feature error / that of copy-last; NaN where that is 0."""
        return skill_of(self.forecast.feature_error, self.copy.feature_error)


def surprise(judgement: Judgement) -> FloatImage | None:
    """(h, w) float32: where the world did not do what was expected; None without features.

    The forecast's squared error of each patch, in units of copy-last's mean error at the same
    horizon over the window: 1 is as surprising as the world would be to who expects it to stand
    still. NaN while copy-last has made no error, so that there is nothing to measure by.
    """
    if judgement.patch_errors is None:
        return None
    scale = judgement.running.copy.feature_error
    if not scale > 0.0:
        return np.full_like(judgement.patch_errors, math.nan)
    return judgement.patch_errors / np.float32(scale)


class SkillMonitor:
    """Matches one camera's forecasts with its frames and keeps the running skill of each step."""

    def __init__(self, window: int, tolerance: float, max_bytes: int) -> None:
        """Prepare.

        Args:
            window: forecasts of a step that running means are over.
            tolerance, max_bytes: of the `Matcher`.
        """
        self.matcher = Matcher(tolerance, max_bytes)
        self.counts: Counter[str] = Counter()
        self.model: Moment | None = None
        self._window = window
        self._running: dict[int, RunningSkill] = {}

    @property
    def window(self) -> int:
        """Forecasts of a step that running means are over; may be changed."""
        return self._window

    @window.setter
    def window(self, value: int) -> None:
        self._window = value
        for running in self._running.values():
            running.resize(value)

    def running(self) -> Mapping[int, Running]:
        """Step -> means over its window."""
        return {step: running.means() for step, running in sorted(self._running.items())}

    def take(self, moment: Moment, predictions: Sequence[Prediction]) -> list[Judgement]:
        """Take a frame with the forecast made from it; what can be judged now, oldest first.

        Another model starts with empty windows.
        """
        if self.model is not None and not moment.is_of_model_of(self.model):
            self._running.clear()
        self.model = moment
        self.counts["forecasts_received"] += 1
        matches = self.matcher.take(moment, predictions)
        return [self._judge(match) for match in matches]

    def _judge(self, match: Match) -> Judgement:
        seen, metric = match.arrived.seen, match.arrived.depth_is_metric
        predicted = match.prediction.predicted
        forecast, errors = compare(predicted, seen, metric)
        copy, _ = compare(match.origin.seen, seen, metric)
        self.counts["compared"] += 1
        self.counts["size_changed"] += sizes_differ(predicted, seen)
        step = match.prediction.step
        running = self._running.setdefault(step, RunningSkill(self._window))
        return Judgement(match, forecast, copy, running.add(forecast, copy), errors)
