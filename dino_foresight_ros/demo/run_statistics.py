"""Counts and times of a demo run, gathered as messages come and written to metrics.json."""

from __future__ import annotations

import array
import datetime
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dino_foresight_ros.process.cpu import cpu_name
from dino_foresight_ros.version import __version__

_DROPPED = "dropped."


@dataclass
class CameraStatistics:
    """What came of one camera.

    Attributes:
        frames, forecasts: how many came.
        latencies_ms: of every forecast, as the node measured it.
        first_frame_s, last_frame_s, first_forecast_s, last_forecast_s: when the first and the
            newest of each came, seconds of `time.monotonic`.
        first_stamp_ns, last_stamp_ns: stamps of the first and the newest frame.
        image_size: (height, width) of the newest frame; None until one was decoded.
        focal: of the camera, as `CameraView.focal` has it; None where no camera_info came.
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
    last_stamp_ns: int | None = None
    image_size: tuple[int, int] | None = None
    focal: float | None = None
    forecast_size: tuple[int, int] | None = None

    def add_frame(self, now_s: float, stamp_ns: int) -> None:
        """Count a frame that came now."""
        if self.first_frame_s is None:
            self.first_frame_s, self.first_stamp_ns = now_s, stamp_ns
        self.last_frame_s, self.last_stamp_ns = now_s, stamp_ns
        self.frames += 1

    def add_forecast(self, now_s: float, latency_ms: float) -> None:
        """Count a forecast that came now."""
        if self.first_forecast_s is None:
            self.first_forecast_s = now_s
        self.last_forecast_s = now_s
        self.forecasts += 1
        self.latencies_ms.append(latency_ms)


class RunStatistics:
    """What came of all cameras, and of the forecast node itself.

    Attributes:
        cameras: by name; the only, unnamed one is "".
        model, trained, frame_interval_s, steps: as the newest forecast says.
        diagnostics: the forecast node's newest values, and when they came.
        failure: why messages could not be read, None while they can.
    """

    def __init__(self, cameras: Sequence[str] = ("",)) -> None:
        self.cameras = {name: CameraStatistics() for name in cameras}
        self.model = ""
        self.trained = False
        self.frame_interval_s = 0.0
        self.steps = 0
        self.diagnostics: dict[str, str] = {}
        self.diagnostics_s: float | None = None
        self.failure: str | None = None

    def together(self) -> CameraStatistics:
        """All cameras as if they were one: counts added up, the first and the last of all times."""
        every = list(self.cameras.values())
        latencies = array.array("d")
        for camera in every:
            latencies.extend(camera.latencies_ms)
        return CameraStatistics(
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
    def duration_s(self) -> float:
        """Seconds from the first frame to the newest, of the camera that gave most."""
        camera = max(self.cameras.values(), key=lambda camera: camera.frames)
        return ((camera.last_stamp_ns or 0) - (camera.first_stamp_ns or 0)) / 1e9

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


def machine_description() -> dict[str, Any]:
    """What the run ran on."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity is not None else os.cpu_count()
    return {
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "usable_cpus": usable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def account(frames_played: int, diagnostics: Mapping[str, str]) -> dict[str, Any]:
    """Where every frame went: frames_in = forecasts_out + the sum of dropped, always.

    Args:
        frames_played: frames that were published on the image topic, as far as is known.
        diagnostics: the forecast node's values; its image input is best effort.
    """
    received = int(diagnostics.get("frames_received", 0))
    forecasts = int(diagnostics.get("forecasts_published", 0))
    dropped = {
        key.removeprefix(_DROPPED): int(value)
        for key, value in diagnostics.items()
        if key.startswith(_DROPPED) and int(value)
    }
    frames_in = max(frames_played, received)
    if frames_in > received:
        dropped["not_delivered"] = frames_in - received
    unfinished = frames_in - forecasts - sum(dropped.values())
    if unfinished:
        dropped["unfinished"] = unfinished
    return {
        "frames_in": frames_in,
        "forecasts_out": forecasts,
        "dropped_total": sum(dropped.values()),
        "dropped": dropped,
    }


def latency_percentiles(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """p50 and p99, in milliseconds; None without a forecast."""
    if not len(latencies_ms):
        return {"latency_p50_ms": None, "latency_p99_ms": None}
    p50, p99 = np.percentile(np.asarray(latencies_ms), (50, 99))
    return {"latency_p50_ms": round(float(p50), 2), "latency_p99_ms": round(float(p99), 2)}


def rate_hz(count: int, first_s: float | None, last_s: float | None) -> float | None:
    """Mean rate of events between the first and the last of them; None below two events."""
    if count < 2 or first_s is None or last_s is None or last_s <= first_s:
        return None
    return round((count - 1) / (last_s - first_s), 2)


def summarize(
    statistics: RunStatistics, frames_played: int | None, recorded: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Everything that was counted and measured while the demo ran.

    Args:
        statistics: what the demo saw on the topics.
        frames_played: how many frames the player says it published, None when it did not say.
        recorded: how many each of several cameras has, as far as is known.
    """
    diagnostics = statistics.diagnostics
    numbers = {
        **_counted(statistics.together(), frames_played, diagnostics),
        "model": statistics.model,
        "trained": statistics.trained,
        "device": diagnostics.get("device"),
        "dtype": diagnostics.get("dtype"),
        "steps": statistics.steps,
        "frame_interval_s": round(statistics.frame_interval_s, 6),
    }
    if any(statistics.cameras):  # those that have names
        # The player counts all cameras together: it says of each only when it played them all.
        played = recorded if recorded and frames_played == sum(recorded.values()) else {}
        numbers["cameras"] = {
            name: _counted(camera, played.get(name), of_camera(name, diagnostics))
            for name, camera in statistics.cameras.items()
        }
    return numbers


def of_camera(name: str, diagnostics: Mapping[str, str]) -> dict[str, str]:
    """The values of one of several cameras, under the keys that a single one has."""
    prefix = f"camera.{name}."
    return {
        key.removeprefix(prefix): value
        for key, value in diagnostics.items()
        if key.startswith(prefix)
    }


def _counted(
    statistics: CameraStatistics, frames_played: int | None, diagnostics: Mapping[str, str]
) -> dict[str, Any]:
    return {
        **account(max(statistics.frames, frames_played or 0), diagnostics),
        "frames_seen": statistics.frames,
        "forecasts_seen": statistics.forecasts,
        **latency_percentiles(statistics.latencies_ms),
        "frames_per_s": rate_hz(
            statistics.frames, statistics.first_frame_s, statistics.last_frame_s
        ),
        "forecasts_per_s": rate_hz(
            statistics.forecasts, statistics.first_forecast_s, statistics.last_forecast_s
        ),
        "image_size": _width_height(statistics.image_size),
        "forecast_size": _width_height(statistics.forecast_size),
    }


def _width_height(size: tuple[int, int] | None) -> list[int] | None:
    return None if size is None else [size[1], size[0]]


def write_metrics(path: Path, numbers: Mapping[str, Any]) -> None:
    """Write metrics.json with what is common to every run added."""
    now = datetime.datetime.now(datetime.timezone.utc)
    common = {
        "version": __version__,
        "created": now.isoformat(timespec="seconds"),
        "machine": machine_description(),
    }
    # Strict JSON: a NaN would break other readers.
    text = json.dumps({**numbers, **common}, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
