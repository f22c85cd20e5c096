"""From streams of frames and forecasts to moments: a forecast beside what then really came."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

# A tile of the sheet or the video is narrower than this, and so are small models' inputs.
KEPT_WIDTH = 640
_KEPT_FRAMES = 96
_MAX_PENDING = 64
# A frame counts as the predicted instant's when it is at most so many frame intervals off.
_TOLERANCE = 0.4

Value = TypeVar("Value")


def shrink(image: Picture, most_width: int = KEPT_WIDTH) -> Picture:
    """A copy of a frame, no wider than pictures and models need it."""
    height, width = image.shape[:2]
    if width <= most_width:
        return image.copy()
    size = (most_width, max(1, round(height * most_width / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class SeenFrame:
    """A frame that came. Its picture is decoded when it is first needed, which few are."""

    def __init__(self, stamp_ns: int, load: Callable[[], Picture], most_width: int) -> None:
        self.stamp_ns = stamp_ns
        self._load: Callable[[], Picture] | None = load
        self._most_width = most_width
        self._picture: Picture | None = None

    def picture(self) -> Picture | None:
        """(H, W, 3) uint8, small; None if it cannot be decoded."""
        if self._load is not None:
            try:
                self._picture = shrink(self._load(), self._most_width)
            except InputError:
                self._picture = None
            self._load = None
        return self._picture


class _Recent(OrderedDict[Any, Value], Generic[Value]):
    """A dictionary that forgets its oldest entries."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: Any, value: Value) -> None:
        self[key] = value
        while len(self) > self._most:
            self.popitem(last=False)


@dataclass
class _Pending:
    """A forecast whose instants have not all come."""

    forecast: ComparedForecast
    tolerance_ns: int
    arrived: dict[int, tuple[int, SeenFrame]] = field(default_factory=dict)

    def see(self, frame: SeenFrame) -> None:
        """Keep the frame for each step whose instant it is nearest to so far."""
        for step in self.forecast.steps:
            scene = step.predicted
            off_ns = abs(frame.stamp_ns - scene.stamp_ns)
            best = self.arrived.get(scene.step)
            if off_ns <= self.tolerance_ns and (best is None or off_ns < best[0]):
                self.arrived[scene.step] = (off_ns, frame)

    def is_over(self, stamp_ns: int) -> bool:
        """Whether frames from `stamp_ns` on are too late for every step."""
        last = max(step.predicted.stamp_ns for step in self.forecast.steps)
        return stamp_ns > last + self.tolerance_ns


class MomentTracker:
    """Joins forecasts with the frames of their instants. Memory is bounded.

    Forecasts nearer to each other than `spacing_s` (in the input's time) are passed over. Each
    moment is handed to `on_moment`, in order of time, once its last instant has passed.
    """

    def __init__(
        self,
        on_moment: Callable[[ComparedForecast], None],
        spacing_s: float,
        kept_frames: int = _KEPT_FRAMES,
    ) -> None:
        self._on_moment = on_moment
        self._spacing_ns = round(spacing_s * 1e9)
        self._frames: deque[SeenFrame] = deque(maxlen=kept_frames)
        self._truth: _Recent[Scene] = _Recent(kept_frames)
        self._features: _Recent[NDArray[Any]] = _Recent(kept_frames)
        self._pending: deque[_Pending] = deque()
        self._last_taken_ns: int | None = None
        self.most_width = KEPT_WIDTH
        """How wide frames are kept, in pixels."""

    def add_frame(self, stamp_ns: int, image: Picture | Callable[[], Picture]) -> None:
        """A camera frame came, (H, W, 3) uint8, or what decodes it when it is needed."""
        if self._frames and stamp_ns < self._frames[-1].stamp_ns - self._spacing_ns:
            # The input started again: what was pending will never come.
            self.flush()
            self._frames.clear()
            self._truth.clear()
            self._features.clear()
            self._last_taken_ns = None
        if callable(image):
            frame = SeenFrame(stamp_ns, image, self.most_width)
        else:
            small = shrink(image, self.most_width)
            frame = SeenFrame(stamp_ns, lambda: small, self.most_width)
        self._frames.append(frame)
        for pending in self._pending:
            pending.see(frame)
        while self._pending and self._pending[0].is_over(stamp_ns):
            self._emit()

    def add_truth(self, stamp_ns: int, **maps: Any) -> None:
        """What was really there in the frame with this stamp, by names of `Scene`."""
        known = self._truth.get(stamp_ns, Scene(stamp_ns, depth_is_metric=True))
        self._truth.put(stamp_ns, replace(known, **maps))

    def add_features(self, stamp_ns: int, step: int, features: NDArray[Any]) -> None:
        """Predicted (h, w, C) features of a step of the forecast from the frame with this stamp."""
        self._features.put((stamp_ns, step), features)

    def wants(self, stamp_ns: int) -> bool:
        """Whether a forecast made from the frame with this stamp would be taken."""
        last_ns = self._last_taken_ns
        # A little early is in time: stamps jitter.
        if last_ns is not None and 0 <= stamp_ns - last_ns < self._spacing_ns * 0.95:
            return False
        return any(frame.stamp_ns == stamp_ns for frame in self._frames)

    def add_forecast(
        self,
        stamp_ns: int,
        steps: Sequence[Scene],
        frame_interval_s: float,
        latency_ms: float | None,
    ) -> None:
        """A forecast came; call only where `wants` says so."""
        frame = next((frame for frame in self._frames if frame.stamp_ns == stamp_ns), None)
        image = None if frame is None else frame.picture()
        if image is None or not steps:
            return
        self._last_taken_ns = stamp_ns
        newest = Scene(stamp_ns, image=image)
        forecast = ComparedForecast(newest, tuple(map(ComparedStep, steps)), latency_ms)
        pending = _Pending(forecast, round(frame_interval_s * _TOLERANCE * 1e9))
        for seen in self._frames:
            pending.see(seen)
        self._pending.append(pending)
        if len(self._pending) > _MAX_PENDING or pending.is_over(self._frames[-1].stamp_ns):
            self._emit()

    def flush(self) -> None:
        """The stream ended: hand out what is pending, with the frames that came."""
        while self._pending:
            self._emit()

    def _emit(self) -> None:
        pending = self._pending.popleft()
        forecast = pending.forecast
        steps = tuple(self._finished(forecast, s, pending.arrived) for s in forecast.steps)
        self._on_moment(replace(forecast, steps=steps))

    def _finished(
        self,
        forecast: ComparedForecast,
        step: ComparedStep,
        arrived: dict[int, tuple[int, SeenFrame]],
    ) -> ComparedStep:
        """A step with everything that came about it."""
        scene = step.predicted
        features = self._features.get((forecast.seen.stamp_ns, scene.step))
        step = replace(step, predicted=replace(scene, features=features))
        if scene.step not in arrived:
            return step
        frame = arrived[scene.step][1]
        came = Scene(frame.stamp_ns, image=frame.picture())
        return replace(step, arrived=came, truth=self._truth.get(frame.stamp_ns))
