"""What became of every frame, and how fast. Bounded memory, safe from any thread."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.outputs import DropReason


@dataclass(frozen=True)
class FrameCounts:
    """Frames since the start: received = forecasts + dropped_total + in_flight, always."""

    received: int
    forecasts: int
    dropped: Mapping[str, int]
    in_flight: int

    @property
    def dropped_total(self) -> int:
        return sum(self.dropped.values())


class FrameCounter:
    """Counts frames in, and out by what became of them: each camera's, and all together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._forecasts: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._in_flight: Counter[str] = Counter()

    def receive(self, camera: str = "") -> None:
        """A frame came in: from now on it is in flight."""
        with self._lock:
            self._received[camera] += 1
            self._in_flight[camera] += 1

    def forecast(self, camera: str = "") -> None:
        """A frame in flight became a published forecast."""
        with self._lock:
            self._in_flight[camera] -= 1
            self._forecasts[camera] += 1

    def drop(self, reason: DropReason, camera: str = "") -> None:
        """A frame in flight was given up for the named reason."""
        with self._lock:
            self._in_flight[camera] -= 1
            self._dropped.setdefault(camera, Counter())[reason] += 1

    def counts(self, camera: str | None = None) -> FrameCounts:
        """All numbers of one camera, or of all (None), taken at one instant."""
        with self._lock:
            cameras = self._received.keys() if camera is None else [camera]
            dropped: Counter[str] = Counter()
            for name in cameras:
                dropped.update(self._dropped.get(name, {}))
            return FrameCounts(
                received=sum(self._received.get(name, 0) for name in cameras),
                forecasts=sum(self._forecasts.get(name, 0) for name in cameras),
                dropped=dict(dropped),
                in_flight=sum(self._in_flight.get(name, 0) for name in cameras),
            )


class LatencyWindow:
    """Percentiles over the newest durations."""

    def __init__(self, size: int = 512) -> None:
        self._lock = threading.Lock()
        self._seconds: deque[float] = deque(maxlen=size)

    def add(self, seconds: float) -> None:
        with self._lock:
            self._seconds.append(seconds)

    @property
    def last_s(self) -> float | None:
        """The newest duration in seconds, None when there is none."""
        with self._lock:
            return self._seconds[-1] if self._seconds else None

    def recent_s(self, count: int = 9) -> float | None:
        """Median of the newest few durations in seconds, None when there is none."""
        with self._lock:
            values = list(self._seconds)[-count:]
        return float(np.median(values)) if values else None

    def percentile_s(self, percent: float) -> float | None:
        """The duration in seconds that `percent` of the window stay below, None when empty."""
        with self._lock:
            values = list(self._seconds)
        return float(np.percentile(values, percent)) if values else None


class RateMeter:
    """Events per second over the last few seconds."""

    def __init__(self, window_s: float = 5.0, max_events: int = 2048) -> None:
        self._lock = threading.Lock()
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=max_events)

    def tick(self, now_s: float) -> None:
        with self._lock:
            self._times.append(now_s)

    def rate_hz(self, now_s: float) -> float:
        """Mean rate of the events inside the window; 0 when fewer than two."""
        with self._lock:
            times = [t for t in self._times if now_s - t <= self._window_s]
        if len(times) < 2 or times[-1] <= times[0]:
            return 0.0
        # Measured up to now, so that the rate falls as soon as events stay away.
        return (len(times) - 1) / max(times[-1] - times[0], now_s - times[0] - 1.0)


class Statistics:
    """Counts, latency and rates of the frames of all cameras."""

    def __init__(self, counter: FrameCounter | None = None) -> None:
        """Start anew, but for frames counted before if a counter is given."""
        self.counter = counter or FrameCounter()
        self.latency = LatencyWindow()
        self._lock = threading.Lock()
        self._input: defaultdict[str | None, RateMeter] = defaultdict(
            RateMeter
        )  # None: all cameras
        self._output: defaultdict[str | None, RateMeter] = defaultdict(RateMeter)

    def received(self, camera: str, now_s: float) -> None:
        """A frame came in."""
        self.counter.receive(camera)
        self._tick(self._input, camera, now_s)

    def dropped(self, camera: str, reason: DropReason) -> None:
        """A frame was given up."""
        self.counter.drop(reason, camera)

    def forecast(self, camera: str, received_s: float, now_s: float) -> None:
        """The forecast of a frame that came in at `received_s` was handed on."""
        self.latency.add(now_s - received_s)
        self._tick(self._output, camera, now_s)
        self.counter.forecast(camera)

    def counts(self, camera: str | None = None) -> FrameCounts:
        """All numbers of one camera, or of all (None)."""
        return self.counter.counts(camera)

    def input_rate_hz(self, now_s: float, camera: str | None = None) -> float:
        """Frames per second of one camera, or of all (None)."""
        return self._rate_hz(self._input, now_s, camera)

    def output_rate_hz(self, now_s: float, camera: str | None = None) -> float:
        """Forecasts per second of one camera, or of all (None)."""
        return self._rate_hz(self._output, now_s, camera)

    def _tick(self, meters: defaultdict[str | None, RateMeter], camera: str, now_s: float) -> None:
        with self._lock:
            for meter in (meters[camera], meters[None]):
                meter.tick(now_s)

    def _rate_hz(
        self, meters: defaultdict[str | None, RateMeter], now_s: float, camera: str | None
    ) -> float:
        with self._lock:
            return meters[camera].rate_hz(now_s)
