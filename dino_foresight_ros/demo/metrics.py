"""The numbers of one demo run."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dino_foresight_ros.version import __version__

if TYPE_CHECKING:
    from dino_foresight_ros.demo.seen import CameraSeen, Seen

_DROPPED = "dropped."


def machine_description() -> dict[str, Any]:
    """What the run ran on."""
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity is not None else os.cpu_count()
    return {
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "usable_cpus": usable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith(("model name", "hardware")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


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
    seen: Seen, frames_played: int | None, recorded: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Everything that was counted and measured while the demo ran.

    Args:
        seen: what the demo saw on the topics.
        frames_played: how many frames the player says it published, None when it did not say.
        recorded: how many each of several cameras has, as far as is known.
    """
    diagnostics = seen.diagnostics
    numbers = {
        **_counted(seen.together(), frames_played, diagnostics),
        "model": seen.model,
        "trained": seen.trained,
        "device": diagnostics.get("device"),
        "dtype": diagnostics.get("dtype"),
        "steps": seen.steps,
        "frame_interval_s": round(seen.frame_interval_s, 6),
    }
    if any(seen.cameras):  # those that have names
        # The player counts all cameras together: it says of each only when it played them all.
        played = recorded if recorded and frames_played == sum(recorded.values()) else {}
        numbers["cameras"] = {
            name: _counted(camera, played.get(name), of_camera(name, diagnostics))
            for name, camera in seen.cameras.items()
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
    seen: CameraSeen, frames_played: int | None, diagnostics: Mapping[str, str]
) -> dict[str, Any]:
    return {
        **account(max(seen.frames, frames_played or 0), diagnostics),
        "frames_seen": seen.frames,
        "forecasts_seen": seen.forecasts,
        **latency_percentiles(seen.latencies_ms),
        "frames_per_s": rate_hz(seen.frames, seen.first_frame_s, seen.last_frame_s),
        "forecasts_per_s": rate_hz(seen.forecasts, seen.first_forecast_s, seen.last_forecast_s),
        "image_size": _width_height(seen.image_size),
        "forecast_size": _width_height(seen.forecast_size),
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
