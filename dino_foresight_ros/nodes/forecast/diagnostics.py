"""The forecast node's entry in /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from dino_foresight_ros.nodes.forecast.health import Report, StallWatch, Thresholds, judge
from dino_foresight_ros.nodes.forecast.topics import ModelInfo
from dino_foresight_ros.process.memory import memory_use
from dino_foresight_ros.ros.messages import build_diagnostics
from dino_foresight_ros.ros.qos import advertise, output_qos
from dino_foresight_ros.ros.stream_watch import StreamWatch

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.statistics import FrameCounts
    from dino_foresight_ros.runtime.worker import ForecastWorker

ERROR_HOLD_S = 5.0


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
    """

    watches: Mapping[str, StreamWatch]
    thresholds: Thresholds
    has_listeners: bool
    is_enabled: bool


class ForecastDiagnostics:
    """Collects what is known about the node's health and publishes it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = advertise(node, DiagnosticArray, "/diagnostics", output_qos())
        self._loaded: Loaded | None = None
        self._worker: ForecastWorker | None = None
        self._failure: tuple[float, str] | None = None
        self._configure_failure: str | None = None
        self._stall = StallWatch()

    def configured(self, loaded: Loaded, worker: ForecastWorker) -> None:
        """A model runs from now on."""
        self._loaded, self._worker, self._failure = loaded, worker, None
        self._configure_failure = None

    def configure_failed(self, reason: str) -> None:
        """Loading a model failed; an error until another try succeeds."""
        self._configure_failure = reason

    def released(self) -> None:
        """No model is loaded any more."""
        self._loaded = self._worker = None

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
        for camera in filter(None, situation.watches):  # those that have names
            values |= {f"camera.{camera}.{k}": v for k, v in self._values_of(camera).items()}
        self._publisher.publish(
            build_diagnostics(f"{name}: forecast", hardware_id, level, message, values, header)
        )

    def values(self) -> dict[str, object]:
        """Every key and value; counts are those since the node started."""
        memory = memory_use()
        values: dict[str, object] = {"memory_resident_mb": memory.resident_mb}
        if memory.allocated_mb is not None and memory.reserved_mb is not None:
            values["memory_device_allocated_mb"] = memory.allocated_mb
            values["memory_device_reserved_mb"] = memory.reserved_mb
        worker, loaded = self._worker, self._loaded
        if worker is not None:
            values |= _count_values(worker.counter.counts())
            now_s = time.monotonic()
            latencies = {
                "latency_p50_ms": worker.latency.percentile_s(50),
                "latency_p99_ms": worker.latency.percentile_s(99),
                "latency_last_ms": worker.latency.last_s,
            }
            values |= {k: v * 1000.0 for k, v in latencies.items() if v is not None}
            values["input_rate_hz"] = worker.input_rate.rate_hz(now_s)
            values["output_rate_hz"] = worker.output_rate.rate_hz(now_s)
            values["context"] = worker.context_state
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
        worker, now_s = self._worker, time.monotonic()
        if worker is None:
            return {}
        values = _count_values(worker.counter.counts(camera))
        values["input_rate_hz"] = worker.input_rate_of[camera].rate_hz(now_s)
        values["output_rate_hz"] = worker.output_rate_of[camera].rate_hz(now_s)
        values["context"] = worker.context_of.get(camera, "empty")
        return values

    def _level(self, situation: Situation) -> tuple[bytes, str]:
        worker, watches, now_s = self._worker, situation.watches, time.monotonic()
        if self._loaded is None or worker is None or not watches or not situation.is_enabled:
            self._stall.restart()
            return self._idle_level(situation)
        if not situation.has_listeners:
            self._stall.restart()
        stall = self._stall.look(worker.counter.counts(), now_s)
        if self._failure is not None and now_s - self._failure[0] < ERROR_HOLD_S:
            return DiagnosticStatus.ERROR, self._failure[1]
        latency_s = worker.latency.recent_s()
        report = Report(
            silent_s={name: w.age_s(now_s) for name, w in watches.items() if w.is_silent},
            cameras=len(watches),
            has_listeners=situation.has_listeners,
            latency_ms=None if latency_s is None else latency_s * 1000.0,
            rate_hz=worker.output_rate.rate_hz(now_s),
            stall=stall,
            context=worker.context_state,
            trained=self._loaded.trained,
        )
        return judge(report, situation.thresholds)

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
