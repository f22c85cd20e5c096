"""Joins a camera's forecasts with the frames that come later on the topics."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import Match, Matcher
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

# A tile of the sheet or the video is narrower than this, and so are small models' inputs.
KEPT_WIDTH = 640
_KEPT_FRAMES = 96
_MAX_PENDING = 64
_MAX_BYTES = 2**30
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


class ReceivedFrame:
    """A frame that came. Its picture is decoded when it is first needed, which few are."""

    def __init__(self, stamp_ns: int, load: Callable[[], Picture], most_width: int) -> None:
        self.stamp_ns = stamp_ns
        self._load: Callable[[], Picture] | None = load
        self._most_width = most_width
        self._picture: Picture | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the picture, once it is decoded."""
        return 0 if self._picture is None else self._picture.nbytes

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
    """A forecast that is handed out after `over_ns`; `arrived` is by step."""

    forecast: ComparedForecast
    origin: ReceivedFrame
    over_ns: int
    arrived: dict[int, ReceivedFrame] = field(default_factory=dict)


class ForecastTracker:
    """Joins forecasts with the frames of their instants. Memory is bounded.

    Forecasts nearer to each other than `spacing_s` (in the input's time) are passed over. Each
    forecast is handed to `on_compared`, in order of time, when a frame comes after its last
    instant: its features, and the truth, may come later than the forecast itself.
    """

    def __init__(
        self,
        on_compared: Callable[[ComparedForecast], None],
        spacing_s: float,
        kept_frames: int = _KEPT_FRAMES,
    ) -> None:
        self.most_width = KEPT_WIDTH
        """How wide frames are kept, in pixels."""
        self._on_compared = on_compared
        self._spacing_ns = round(spacing_s * 1e9)
        self._matcher: Matcher[ReceivedFrame] = Matcher(
            _TOLERANCE, _MAX_BYTES, kept_frames, jitter_ns=self._spacing_ns
        )
        self._truth: _Recent[Scene] = _Recent(kept_frames)
        self._features: _Recent[NDArray[Any]] = _Recent(kept_frames)
        self._pending: dict[int, _Pending] = {}
        self._last_taken_ns: int | None = None

    def add_frame(
        self, stamp_ns: int, image: Picture | Callable[[], Picture], at_once: bool = False
    ) -> None:
        """A camera frame came.

        Args:
            stamp_ns: its stamp.
            image: (H, W, 3) uint8 RGB, or what decodes it, which may raise InputError.
            at_once: decode now, not when the picture is first needed.
        """
        if self._matcher.is_jump_back(stamp_ns):
            # The input started again: what was pending will never come.
            self.flush()
            self._truth.clear()
            self._features.clear()
            self._last_taken_ns = None
        if callable(image):
            frame = ReceivedFrame(stamp_ns, image, self.most_width)
            if at_once:
                frame.picture()
        else:
            small = shrink(image, self.most_width)
            frame = ReceivedFrame(stamp_ns, lambda: small, self.most_width)
        self._note(self._matcher.add_frame(frame))
        self._emit_over()

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
        return self._matcher.frame_at(stamp_ns) is not None

    def add_forecast(
        self,
        stamp_ns: int,
        steps: Sequence[Scene],
        frame_interval_s: float,
        latency_ms: float | None,
    ) -> None:
        """A forecast came; call only where `wants` says so."""
        frame = self._matcher.frame_at(stamp_ns)
        image = None if frame is None else frame.picture()
        if frame is None or image is None or not steps:
            return
        self._last_taken_ns = stamp_ns
        forecast = ComparedForecast(
            Scene(stamp_ns, image=image), tuple(map(ComparedStep, steps)), latency_ms
        )
        interval_ns = round(frame_interval_s * 1e9)
        over_ns = max(scene.stamp_ns for scene in steps) + round(interval_ns * _TOLERANCE)
        # On a busy machine a forecast comes after its instants, and its features a little later.
        over_ns = max(over_ns, (self._matcher.newest_ns or 0) + interval_ns)
        self._pending[stamp_ns] = _Pending(forecast, frame, over_ns)
        self._note(self._matcher.add_forecast(frame, steps, interval_ns))
        if len(self._pending) > _MAX_PENDING:
            self._emit()

    def flush(self) -> None:
        """The stream ended: hand out what is pending, with the frames that came."""
        self._note(self._matcher.flush())
        while self._pending:
            self._emit()

    def _note(self, matches: Sequence[Match[ReceivedFrame]]) -> None:
        for match in matches:
            pending = self._pending.get(match.origin.stamp_ns)
            if pending is not None and match.arrived is not None:
                pending.arrived[match.predicted.step] = match.arrived

    def _emit_over(self) -> None:
        """Hand out the forecasts whose instants have all passed."""
        newest_ns = self._matcher.newest_ns
        while self._pending and newest_ns is not None:
            if next(iter(self._pending.values())).over_ns >= newest_ns:
                return
            self._emit()

    def _emit(self) -> None:
        pending = self._pending.pop(next(iter(self._pending)))
        self._matcher.discard(pending.origin)
        steps = tuple(self._finished(pending, step.predicted) for step in pending.forecast.steps)
        self._on_compared(replace(pending.forecast, steps=steps))

    def _finished(self, pending: _Pending, scene: Scene) -> ComparedStep:
        """A step with everything that came about it."""
        features = self._features.get((pending.origin.stamp_ns, scene.step))
        scene = replace(scene, features=features)
        frame = pending.arrived.get(scene.step)
        if frame is None:
            return ComparedStep(scene)
        came = Scene(frame.stamp_ns, image=frame.picture())
        return ComparedStep(scene, came, self._truth.get(frame.stamp_ns))
