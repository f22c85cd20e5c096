"""The running skill of one camera's forecasts, measured as frames come at their instants."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dino_foresight_ros.compare.matching import Match, Matcher
from dino_foresight_ros.compare.measures import (
    Difference,
    FloatImage,
    compare,
    sizes_differ,
    skill_of,
    within_spread,
)
from dino_foresight_ros.outputs import UnmatchedReason
from dino_foresight_ros.scene import Scene


@dataclass(frozen=True)
class AnalysedFrame:
    """A frame that came, as the model sees it.

    Attributes:
        scene: what the model sees in it: the truth for earlier forecasts, copy-last for its own.
        frame_id: the camera's optical frame.
        interval_ns: nominal time between the model's steps.
        model_name: name of the bundle.
        trained: False with random weights.
    """

    scene: Scene
    frame_id: str
    interval_ns: int
    model_name: str = ""
    trained: bool = True

    @property
    def stamp_ns(self) -> int:
        """The frame's stamp, nanoseconds in the camera's time base."""
        return self.scene.stamp_ns

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.scene.nbytes

    def is_of_model_of(self, other: AnalysedFrame) -> bool:
        """Whether both were described by the same model, as far as can be told."""
        return (
            self.scene.depth_is_metric == other.scene.depth_is_metric
            and self.interval_ns == other.interval_ns
            and self.model_name == other.model_name
            and self.trained == other.trained
        )


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


@dataclass(frozen=True)
class Comparison:
    """How well one step of a forecast met the frame that came.

    Attributes:
        predicted: the step.
        origin: the newest frame that it was forecast from.
        arrived: the frame nearest to the predicted instant.
        forecast, copy: how far the forecast, and copy-last, were off.
        running: means over the window, this forecast included.
        patch_errors: (h, w) float32, the forecast's feature error by patch; None without features.
    """

    predicted: Scene
    origin: AnalysedFrame
    arrived: AnalysedFrame
    forecast: Difference
    copy: Difference
    running: Running
    patch_errors: FloatImage | None

    @property
    def offset_ns(self) -> int:
        """Nanoseconds from the predicted instant to the frame; negative for an earlier frame."""
        return self.arrived.stamp_ns - self.predicted.stamp_ns

    @property
    def skill(self) -> float:
        """1 - feature error / that of copy-last; NaN where that is 0."""
        return skill_of(self.forecast.feature_error, self.copy.feature_error)

    @property
    def within_spread(self) -> float:
        """The fraction of patches where what came lay within twice the futures' spread."""
        return within_spread(self.patch_errors, self.predicted.spread)

    def surprise(self) -> FloatImage | None:
        """(h, w) float32: where the world did not do what was expected; None without features.

        The forecast's squared error of each patch, in units of copy-last's mean error at the same
        horizon over the window: 1 is as surprising as the world would be to who expects it to
        stand still. NaN while copy-last has made no error, so that there is nothing to measure by.
        """
        if self.patch_errors is None:
            return None
        scale = self.running.copy.feature_error
        if not scale > 0.0:
            return np.full_like(self.patch_errors, math.nan)
        return self.patch_errors / np.float32(scale)


class SkillMonitor:
    """Matches one camera's forecasts with its frames and keeps the running skill of each step."""

    def __init__(self, window: int, tolerance: float, max_bytes: int) -> None:
        """Prepare.

        Args:
            window: forecasts of a step that running means are over.
            tolerance, max_bytes: of the `Matcher`.
        """
        self.matcher: Matcher[AnalysedFrame] = Matcher(tolerance, max_bytes)
        self.counts: Counter[str] = Counter()
        self.model: AnalysedFrame | None = None
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

    def take(self, frame: AnalysedFrame, predictions: Sequence[Scene]) -> list[Comparison]:
        """Take a frame with the forecast made from it; what can be compared now, oldest first.

        A frame that came before counts for nothing the second time. Another model starts with
        empty windows.
        """
        self.counts["forecasts_received"] += 1
        if self.model is not None and not frame.is_of_model_of(self.model):
            self._running.clear()
            self.matcher.clear(UnmatchedReason.MODEL_CHANGED)
        self.model = frame
        if self.matcher.newest_ns == frame.stamp_ns:
            return []
        matches = self.matcher.add_frame(frame)
        matches += self.matcher.add_forecast(frame, predictions, frame.interval_ns)
        return [self._compare(m, m.arrived) for m in matches if m.arrived is not None]

    def _compare(self, match: Match[AnalysedFrame], arrived: AnalysedFrame) -> Comparison:
        predicted, origin, seen = match.predicted, match.origin, arrived.scene
        forecast, errors = compare(predicted, seen)
        copy, _ = compare(origin.scene, seen)
        self.counts["compared"] += 1
        self.counts["size_changed"] += sizes_differ(predicted, seen)
        running = self._running.setdefault(predicted.step, RunningSkill(self._window))
        means = running.add(forecast, copy)
        return Comparison(predicted, origin, arrived, forecast, copy, means, errors)
