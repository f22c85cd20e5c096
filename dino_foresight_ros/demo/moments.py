"""From streams of frames and forecasts to moments: a forecast beside what then really came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.views import Moment, StepView

# A tile of the sheet or the video is narrower than this.
_KEPT_WIDTH = 640
_KEPT_FRAMES = 96
_MAX_PENDING = 64
# A frame counts as the predicted instant's when it is at most so many frame intervals off.
_TOLERANCE = 0.4


def shrink(image: Picture) -> Picture:
    """A copy of a frame, no wider than pictures need it."""
    height, width = image.shape[:2]
    if width <= _KEPT_WIDTH:
        return image.copy()
    size = (_KEPT_WIDTH, max(1, round(height * _KEPT_WIDTH / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass
class _Pending:
    """A forecast whose instants have not all come."""

    moment: Moment
    tolerance_ns: int
    arrived: dict[int, tuple[int, Picture]] = field(default_factory=dict)

    def see(self, stamp_ns: int, image: Picture) -> None:
        """Keep the frame for each step whose instant it is nearest to so far."""
        for view in self.moment.steps:
            off_ns = abs(stamp_ns - view.target_stamp_ns)
            best = self.arrived.get(view.step)
            if off_ns <= self.tolerance_ns and (best is None or off_ns < best[0]):
                self.arrived[view.step] = (off_ns, image)

    def is_over(self, stamp_ns: int) -> bool:
        """Whether frames from `stamp_ns` on are too late for every step."""
        last = max(view.target_stamp_ns for view in self.moment.steps)
        return stamp_ns > last + self.tolerance_ns

    def finished(self) -> Moment:
        """The moment with the frames that came."""
        steps = tuple(
            replace(view, arrived=self.arrived[view.step][1]) if view.step in self.arrived else view
            for view in self.moment.steps
        )
        return replace(self.moment, steps=steps)


class MomentTracker:
    """Joins forecasts with the frames of their instants. Memory is bounded.

    Forecasts nearer to each other than `spacing_s` (in the input's time) are passed over. Each
    moment is handed to `on_moment`, in order of time, once its last instant has passed.
    """

    def __init__(self, on_moment: Callable[[Moment], None], spacing_s: float) -> None:
        self._on_moment = on_moment
        self._spacing_ns = round(spacing_s * 1e9)
        self._frames: deque[tuple[int, Picture]] = deque(maxlen=_KEPT_FRAMES)
        self._pending: deque[_Pending] = deque()
        self._last_taken_ns: int | None = None

    def add_frame(self, stamp_ns: int, image: Picture) -> None:
        """A camera frame came, (H, W, 3) uint8."""
        if self._frames and stamp_ns < self._frames[-1][0] - self._spacing_ns:
            # The input started again: what was pending will never come.
            self.flush()
            self._frames.clear()
            self._last_taken_ns = None
        small = shrink(image)
        self._frames.append((stamp_ns, small))
        for pending in self._pending:
            pending.see(stamp_ns, small)
        while self._pending and self._pending[0].is_over(stamp_ns):
            self._emit()

    def wants(self, stamp_ns: int) -> bool:
        """Whether a forecast made from the frame with this stamp would be taken."""
        last_ns = self._last_taken_ns
        # A little early is in time: stamps jitter.
        if last_ns is not None and 0 <= stamp_ns - last_ns < self._spacing_ns * 0.95:
            return False
        return any(stamp == stamp_ns for stamp, _ in self._frames)

    def add_forecast(
        self,
        stamp_ns: int,
        steps: Sequence[StepView],
        frame_interval_s: float,
        latency_ms: float | None,
    ) -> None:
        """A forecast came; call only where `wants` says so."""
        image = next((frame for stamp, frame in self._frames if stamp == stamp_ns), None)
        if image is None or not steps:
            return
        self._last_taken_ns = stamp_ns
        moment = Moment(image, stamp_ns, tuple(steps), latency_ms)
        pending = _Pending(moment, round(frame_interval_s * _TOLERANCE * 1e9))
        for stamp, frame in self._frames:
            pending.see(stamp, frame)
        self._pending.append(pending)
        if len(self._pending) > _MAX_PENDING or pending.is_over(self._frames[-1][0]):
            self._emit()

    def flush(self) -> None:
        """The stream ended: hand out what is pending, with the frames that came."""
        while self._pending:
            self._emit()

    def _emit(self) -> None:
        self._on_moment(self._pending.popleft().finished())


class MomentKeeper:
    """Keeps a few moments that are spread evenly over a run of unknown length."""

    def __init__(self, capacity: int = 12) -> None:
        self._capacity = capacity
        self._kept: list[Moment] = []
        self._stride = 1
        self._seen = 0

    def add(self, moment: Moment) -> None:
        """Offer a moment; keeps every first, second, fourth, ... as the run goes on."""
        if self._seen % self._stride == 0:
            self._kept.append(moment)
        self._seen += 1
        if len(self._kept) > self._capacity:
            del self._kept[1::2]
            self._stride *= 2

    def choose(self, count: int) -> list[Moment]:
        """At most `count`, spread; those whose every instant was seen are preferred."""
        complete = [m for m in self._kept if all(step.arrived is not None for step in m.steps)]
        candidates = complete if len(complete) >= count else self._kept
        if len(candidates) <= count:
            return list(candidates)
        # The middles of equal parts: the first and the last moments of a run show the least.
        return [candidates[int((i + 0.5) * len(candidates) / count)] for i in range(count)]
