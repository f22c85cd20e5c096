"""The forecast node's entry in /diagnostics: how well it does, and its numbers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from dino_foresight_ros.nodes.forecast.model_info import ModelInfo
from dino_foresight_ros.process.memory import memory_use
from dino_foresight_ros.ros.messages import build_diagnostics
from dino_foresight_ros.ros.qos import advertise, output_qos
from dino_foresight_ros.ros.stream_watch import StreamWatch

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.scheduler import Scheduler
    from dino_foresight_ros.runtime.statistics import FrameCounts

ERROR_HOLD_S = 5.0
NO_HEADS = "no heads: nothing can be published but features"


class Thresholds(NamedTuple):
    """When a level is reached; 0 is never.

    Attributes:
        latency_warn_ms, latency_error_ms: frame in to forecast out.
        min_rate_hz: forecasts per second.
        timeout_s: how long frames may come without a forecast.
    """

    latency_warn_ms: float
    latency_error_ms: float
    min_rate_hz: float
    timeout_s: float


class Stall(NamedTuple):
    """Frames that came without a forecast since the last one.

    Attributes:
        seconds: since the last forecast, or the start.
        frames: dropped since then.
        reason: of most of them.
    """

    seconds: float
    frames: int
    reason: str


@dataclass(frozen=True)
class Report:
    """What a running node's level is told by.

    Attributes:
        silent_s: cameras whose stream stopped -> seconds without a frame.
        cameras: how many there are.
        has_listeners: whether somebody subscribes to any output.
        latency_ms: of recent forecasts; None without any.
        rate_hz: forecasts per second.
        stall: None while forecasts come.
        context: filling of the context, in words.
        trained: whether the model is.
        has_outputs: whether there is anything to publish but features.
        rate_problems: cameras that are too slow for a forecast -> why, in words.
        shared_topics: those that another node publishes on as well.
    """

    silent_s: Mapping[str, float] = field(default_factory=dict)
    cameras: int = 1
    has_listeners: bool = True
    latency_ms: float | None = None
    rate_hz: float = 0.0
    stall: Stall | None = None
    context: str = ""
    trained: bool = True
    has_outputs: bool = True
    rate_problems: Mapping[str, str] = field(default_factory=dict)
    shared_topics: Sequence[str] = ()


class Loaded(Protocol):
    """What is told of a loaded engine."""

    @property
    def model(self) -> ModelInfo: ...
    @property
    def trained(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...


class Situation(NamedTuple):
    """What the node knows of itself.

    Attributes:
        watches: of the streams, by camera; empty while the node is not active.
        thresholds: when levels are reached.
        has_listeners: whether somebody subscribes to any output.
        is_enabled: whether frames are worked at.
        rate_problems: cameras that are too slow for a forecast -> why, in words.
        shared_topics: those that another node publishes on as well.
        motion: of the base, which forecasts know of, in words; empty for a model that takes none.
        depth: why metric depth is of an assumed focal length, in words; empty where it is not.
        imagine: what became of the last request to foresight/imagine, in words; empty without any.
    """

    watches: Mapping[str, StreamWatch]
    thresholds: Thresholds
    has_listeners: bool
    is_enabled: bool
    rate_problems: Mapping[str, str]
    shared_topics: Sequence[str]
    motion: str = ""
    depth: str = ""
    imagine: str = ""


class ForecastDiagnostics:
    """Collects what is known about the node's health and publishes it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = advertise(node, DiagnosticArray, "/diagnostics", output_qos())
        self._loaded: Loaded | None = None
        self._scheduler: Scheduler | None = None
        self._failure: tuple[float, str] | None = None
        self._configure_failure: str | None = None
        self._stall = StallWatch()

    def configured(self, loaded: Loaded, scheduler: Scheduler) -> None:
        """A model runs from now on."""
        self._loaded, self._scheduler, self._failure = loaded, scheduler, None
        self._configure_failure = None

    def configure_failed(self, reason: str) -> None:
        """Loading a model failed; an error until another try succeeds."""
        self._configure_failure = reason

    def released(self) -> None:
        """No model is loaded any more."""
        self._loaded = self._scheduler = None

    def failed(self, reason: str) -> None:
        """A frame failed; from any thread."""
        self._failure = (time.monotonic(), reason)

    def publish(self, situation: Situation) -> None:
        """Publish the state now."""
        level, message = self._level(situation)
        name = self._node.get_fully_qualified_name().lstrip("/")
        hardware_id = self._loaded.model.name if self._loaded is not None else ""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        values = self.values()
        if situation.motion:
            values["motion"] = situation.motion
        if situation.depth:
            values["depth"] = situation.depth
        if situation.imagine:
            values["imagine"] = situation.imagine
        if why := self._why_none(situation):
            values["cannot_forecast"] = "; ".join(why)
        for camera in filter(None, situation.watches):  # those that have names
            values |= {f"camera.{camera}.{k}": v for k, v in self._values_of(camera).items()}
        self._publisher.publish(
            build_diagnostics(f"{name}: forecast", hardware_id, level, message, values, header)
        )

    def _why_none(self, situation: Situation) -> list[str]:
        """What keeps this model from ever forecasting these cameras."""
        why = _named(situation.rate_problems)
        if self._loaded is not None and not self._loaded.model.outputs:
            why.append(NO_HEADS)
        return why

    def values(self) -> dict[str, object]:
        """Every key and value; counts are those since the node started."""
        memory = memory_use()
        values: dict[str, object] = {"memory_resident_mb": memory.resident_mb}
        if memory.allocated_mb is not None and memory.reserved_mb is not None:
            values["memory_device_allocated_mb"] = memory.allocated_mb
            values["memory_device_reserved_mb"] = memory.reserved_mb
        scheduler, loaded = self._scheduler, self._loaded
        if scheduler is not None:
            statistics, now_s = scheduler.statistics, time.monotonic()
            values |= _count_values(statistics.counts())
            latencies = {
                "latency_p50_ms": statistics.latency.percentile_s(50),
                "latency_p99_ms": statistics.latency.percentile_s(99),
                "latency_last_ms": statistics.latency.last_s,
            }
            values |= {k: v * 1000.0 for k, v in latencies.items() if v is not None}
            values["input_rate_hz"] = statistics.input_rate_hz(now_s)
            values["output_rate_hz"] = statistics.output_rate_hz(now_s)
            values["context"] = scheduler.context_state
            values["context_memory_mb"] = scheduler.context_bytes / 1e6
            values["needed_rate_hz"] = 1e9 / scheduler.rule.longest_period_ns
            values["needed_frames"] = scheduler.rule.description
            values["needed_duration_s"] = scheduler.rule.least_duration_ns / 1e9
        if loaded is not None:
            values |= {
                "device": loaded.device,
                "dtype": loaded.dtype,
                "model": loaded.model.name,
                "trained": str(loaded.trained).lower(),
            }
        return values

    def _values_of(self, camera: str) -> dict[str, object]:
        """Keys and values of one of several cameras."""
        scheduler, now_s = self._scheduler, time.monotonic()
        if scheduler is None:
            return {}
        values = _count_values(scheduler.statistics.counts(camera))
        values["input_rate_hz"] = scheduler.statistics.input_rate_hz(now_s, camera)
        values["output_rate_hz"] = scheduler.statistics.output_rate_hz(now_s, camera)
        values["context"] = scheduler.contexts.get(camera, "empty")
        return values

    def _level(self, situation: Situation) -> tuple[bytes, str]:
        scheduler, watches, now_s = self._scheduler, situation.watches, time.monotonic()
        if self._loaded is None or scheduler is None or not watches or not situation.is_enabled:
            self._stall.restart()
            return self._idle_level(situation)
        if not situation.has_listeners:
            self._stall.restart()
        statistics = scheduler.statistics
        stall = self._stall.look(statistics.counts(), now_s)
        if self._failure is not None and now_s - self._failure[0] < ERROR_HOLD_S:
            return DiagnosticStatus.ERROR, self._failure[1]
        latency_s = statistics.latency.recent_s()
        report = Report(
            silent_s={name: w.age_s(now_s) for name, w in watches.items() if w.is_silent},
            cameras=len(watches),
            has_listeners=situation.has_listeners,
            latency_ms=None if latency_s is None else latency_s * 1000.0,
            rate_hz=statistics.output_rate_hz(now_s),
            stall=stall,
            context=scheduler.context_state,
            trained=self._loaded.trained,
            has_outputs=bool(self._loaded.model.outputs),
            rate_problems=situation.rate_problems,
            shared_topics=situation.shared_topics,
        )
        return diagnose(report, situation.thresholds)

    def _idle_level(self, situation: Situation) -> tuple[bytes, str]:
        if self._configure_failure is not None:
            return DiagnosticStatus.ERROR, f"cannot configure: {self._configure_failure}"
        if self._loaded is None:
            return DiagnosticStatus.OK, "unconfigured"
        if not situation.watches:
            return DiagnosticStatus.OK, "inactive"
        return DiagnosticStatus.OK, "paused: ~/set_enabled resumes"


def _count_values(counts: FrameCounts) -> dict[str, object]:
    values: dict[str, object] = {
        "frames_received": counts.received,
        "forecasts_published": counts.forecasts,
        "dropped_total": counts.dropped_total,
        "in_flight": counts.in_flight,
    }
    return values | {f"dropped.{reason}": n for reason, n in sorted(counts.dropped.items())}


def diagnose(report: Report, limits: Thresholds) -> tuple[bytes, str]:
    """The level and, most important first, why."""
    if len(report.silent_s) >= report.cameras > 0:
        return DiagnosticStatus.STALE, f"no image for {min(report.silent_s.values()):.0f} s"
    reasons: list[str] = []
    level = DiagnosticStatus.OK
    # Nobody's forecasts are neither late nor missing.
    late = _latency(report.latency_ms, limits) if report.has_listeners else None
    if late is not None:
        level, text = late
        reasons.append(text)
    if report.silent_s:
        reasons.append(f"no image from {', '.join(sorted(report.silent_s))}")
    if report.shared_topics:
        reasons.append(f"another node publishes on {', '.join(report.shared_topics)} too")
    reasons += _named(report.rate_problems)
    if report.has_listeners and len(report.rate_problems) < report.cameras:
        reasons += _missing(report, limits)
    if not (report.has_listeners or report.has_outputs):
        reasons.append(f"{NO_HEADS}, which nobody subscribes to")
    if not report.trained:
        # A warning for as long as it runs: nothing may act on what it forecasts.
        reasons.append("untrained: forecasts mean nothing")
    if not reasons:
        return level, "forecasting" if report.has_listeners else "idle: nobody subscribes"
    return max(level, DiagnosticStatus.WARN), "; ".join(reasons)


def _named(problems: Mapping[str, str]) -> list[str]:
    return [f"{camera}: {text}" if camera else text for camera, text in problems.items()]


def _latency(latency_ms: float | None, limits: Thresholds) -> tuple[bytes, str] | None:
    if latency_ms is None:
        return None
    for level, limit_ms in (
        (DiagnosticStatus.ERROR, limits.latency_error_ms),
        (DiagnosticStatus.WARN, limits.latency_warn_ms),
    ):
        if 0.0 < limit_ms < latency_ms:
            return level, f"latency {latency_ms:.0f} ms is above {limit_ms:g} ms"
    return None


def _missing(report: Report, limits: Thresholds) -> list[str]:
    stall = report.stall
    if stall is not None and stall.seconds >= limits.timeout_s:
        return [
            f"no forecast for {stall.seconds:.0f} s: of {stall.frames} frames most were dropped as "
            f"{stall.reason} (context {report.context})"
        ]
    if report.rate_hz < limits.min_rate_hz:
        return [f"{report.rate_hz:.1f} forecasts/s are below {limits.min_rate_hz:g}"]
    return []


class StallWatch:
    """Notices that frames come but no forecasts; looks at the counts now and then."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._base: FrameCounts | None = None

    def restart(self) -> None:
        """Forget what was: the node starts anew, or nobody waits for forecasts."""
        self._since_s = self._base = None

    def look(self, counts: FrameCounts, now_s: float) -> Stall | None:
        """What happened since the last forecast; None where no frame was dropped since."""
        base = self._base
        if base is None or self._since_s is None or counts.forecasts != base.forecasts:
            self._since_s, self._base = now_s, counts
            return None
        dropped = Counter(counts.dropped)
        dropped.subtract(base.dropped)
        frames = sum(dropped.values())
        if frames == 0:
            return None
        return Stall(now_s - self._since_s, frames, dropped.most_common(1)[0][0])
