"""What the demo has seen on the topics, camera by camera."""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class CameraSeen:
    """What came of one camera.

    Attributes:
        frames, forecasts: how many came.
        latencies_ms: of every forecast, as the node measured it.
        first_frame_s, last_frame_s, first_forecast_s, last_forecast_s: when the first and the
            newest of each came, seconds of `time.monotonic`.
        first_stamp_ns: stamp of the first frame.
        image_size: (height, width) of the newest frame; None until one was decoded.
        forecast_size: (height, width) of the predicted images.
    """

    frames: int = 0
    forecasts: int = 0
    latencies_ms: array.array[float] = field(default_factory=lambda: array.array("d"))
    first_frame_s: float | None = None
    last_frame_s: float | None = None
    first_forecast_s: float | None = None
    last_forecast_s: float | None = None
    first_stamp_ns: int | None = None
    image_size: tuple[int, int] | None = None
    forecast_size: tuple[int, int] | None = None

    def saw_frame(self, now_s: float, stamp_ns: int) -> None:
        """Count a frame that came now."""
        if self.first_frame_s is None:
            self.first_frame_s, self.first_stamp_ns = now_s, stamp_ns
        self.last_frame_s = now_s
        self.frames += 1

    def saw_forecast(self, now_s: float, latency_ms: float) -> None:
        """Count a forecast that came now."""
        if self.first_forecast_s is None:
            self.first_forecast_s = now_s
        self.last_forecast_s = now_s
        self.forecasts += 1
        self.latencies_ms.append(latency_ms)


class Seen:
    """What came of all cameras, and of the forecast node itself.

    Attributes:
        cameras: by name; the only, unnamed one is "".
        model, trained, frame_interval_s, steps: as the newest forecast says.
        diagnostics: the forecast node's newest values, and when they came.
        failure: why messages could not be read, None while they can.
    """

    def __init__(self, cameras: Sequence[str] = ("",)) -> None:
        self.cameras = {name: CameraSeen() for name in cameras}
        self.model = ""
        self.trained = False
        self.frame_interval_s = 0.0
        self.steps = 0
        self.diagnostics: dict[str, str] = {}
        self.diagnostics_s: float | None = None
        self.failure: str | None = None

    def together(self) -> CameraSeen:
        """All cameras as if they were one: counts added up, the first and the last of all times."""
        every = list(self.cameras.values())
        latencies = array.array("d")
        for camera in every:
            latencies.extend(camera.latencies_ms)
        return CameraSeen(
            frames=self.frames,
            forecasts=self.forecasts,
            latencies_ms=latencies,
            first_frame_s=_first(camera.first_frame_s for camera in every),
            last_frame_s=self.last_frame_s,
            first_forecast_s=_first(camera.first_forecast_s for camera in every),
            last_forecast_s=_last(camera.last_forecast_s for camera in every),
            first_stamp_ns=self.first_stamp_ns,
            image_size=next((c.image_size for c in every if c.image_size), None),
            forecast_size=next((c.forecast_size for c in every if c.forecast_size), None),
        )

    @property
    def frames(self) -> int:
        """Of all cameras."""
        return sum(camera.frames for camera in self.cameras.values())

    @property
    def forecasts(self) -> int:
        """Of all cameras."""
        return sum(camera.forecasts for camera in self.cameras.values())

    @property
    def most_frames(self) -> int:
        """Of the camera that gave most."""
        return max(camera.frames for camera in self.cameras.values())

    @property
    def last_frame_s(self) -> float | None:
        """When the newest frame of any camera came."""
        return _last(camera.last_frame_s for camera in self.cameras.values())

    @property
    def first_stamp_ns(self) -> int | None:
        """The earliest of the cameras' first stamps."""
        stamps = [c.first_stamp_ns for c in self.cameras.values() if c.first_stamp_ns is not None]
        return min(stamps, default=None)

    @property
    def newest_latency_ms(self) -> float | None:
        """Of the newest forecast of any camera."""
        told = [c for c in self.cameras.values() if c.last_forecast_s is not None]
        newest = max(told, key=lambda c: c.last_forecast_s or 0.0, default=None)
        return None if newest is None else newest.latencies_ms[-1]


def _first(times: Iterable[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _last(times: Iterable[float | None]) -> float | None:
    return max((time for time in times if time is not None), default=None)
