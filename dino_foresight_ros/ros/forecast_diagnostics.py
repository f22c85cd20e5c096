"""The forecast node's entry in /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from dino_foresight_ros.ros.forecast_msgs import build_diagnostics
from dino_foresight_ros.ros.forecast_topics import ModelInfo
from dino_foresight_ros.ros.qos import output_qos
from dino_foresight_ros.ros.stream_watch import StreamWatch

if TYPE_CHECKING:
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


class ForecastDiagnostics:
    """Collects what is known about the node's health and publishes it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", output_qos())
        self._loaded: Loaded | None = None
        self._worker: ForecastWorker | None = None
        self._failure: tuple[float, str] | None = None

    def configured(self, loaded: Loaded, worker: ForecastWorker) -> None:
        """A model runs from now on."""
        self._loaded, self._worker, self._failure = loaded, worker, None

    def released(self) -> None:
        """No model is loaded any more."""
        self._loaded = self._worker = None

    def failed(self, reason: str) -> None:
        """A frame failed; from any thread."""
        self._failure = (time.monotonic(), reason)

    def publish(self, watches: Mapping[str, StreamWatch]) -> None:
        """Publish the state now. `watches`, by camera, is empty while the node is not active."""
        level, message = self._level(watches)
        name = self._node.get_fully_qualified_name().lstrip("/")
        hardware_id = self._loaded.model.name if self._loaded is not None else ""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(
            build_diagnostics(
                f"{name}: forecast", hardware_id, level, message, self.values(), header
            )
        )

    def values(self) -> dict[str, object]:
        """Every key and value; counts are those since the node started."""
        values: dict[str, object] = {}
        worker, loaded = self._worker, self._loaded
        if worker is not None:
            counts = worker.counter.counts()
            values |= {
                "frames_received": counts.received,
                "forecasts_published": counts.forecasts,
                "dropped_total": counts.dropped_total,
                "in_flight": counts.in_flight,
            }
            values |= {f"dropped.{reason}": n for reason, n in sorted(counts.dropped.items())}
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

    def _level(self, watches: Mapping[str, StreamWatch]) -> tuple[bytes, str]:
        loaded = self._loaded
        if loaded is None:
            return DiagnosticStatus.OK, "unconfigured"
        if not watches:
            return DiagnosticStatus.OK, "inactive"
        if self._failure is not None and time.monotonic() - self._failure[0] < ERROR_HOLD_S:
            return DiagnosticStatus.ERROR, self._failure[1]
        silent = {camera: watch for camera, watch in watches.items() if watch.is_silent}
        if len(silent) == len(watches):
            age_s = min(watch.age_s(time.monotonic()) for watch in silent.values())
            return DiagnosticStatus.STALE, f"no image for {age_s:.0f} s"
        if silent:
            return DiagnosticStatus.WARN, f"no image from {', '.join(silent)}"
        if not loaded.trained:
            return DiagnosticStatus.WARN, "untrained: forecasts mean nothing"
        return DiagnosticStatus.OK, "forecasting"
