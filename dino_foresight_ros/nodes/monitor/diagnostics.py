"""The monitor node's entry in /diagnostics."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Header

from dino_foresight_ros.compare import Running
from dino_foresight_ros.nodes.monitor.stream import MonitorStream
from dino_foresight_ros.ros.messages import build_diagnostics
from dino_foresight_ros.ros.qos import advertise, output_qos

MIN_COMPARED = 10
"""Of fewer forecasts (or of a shorter window) the mean skill is chance."""
_MEANS = ("feature_error", "segmentation_agreement", "depth_error")
"""Measures of ForecastSkill messages; normals are not among them."""


@dataclass(frozen=True)
class CameraReport:
    """How well one camera's forecasts do.

    Attributes:
        silent_s: seconds without a forecast, None while they come.
        idle_s: seconds in which forecasts came, but none met a frame; None while some do.
        has_features: whether features are published.
        trained: whether the model is.
        window: forecasts of a step that running means are over.
        running: step -> means.
    """

    silent_s: float | None = None
    idle_s: float | None = None
    has_features: bool = True
    trained: bool = True
    window: int = 100
    running: Mapping[int, Running] = field(default_factory=dict)

    def worse(self) -> list[int]:
        """Steps whose forecasts are worse than copy-last over the window."""
        return [
            step
            for step, running in self.running.items()
            if running.forecasts >= min(MIN_COMPARED, self.window) and is_worse(running)
        ]


def is_worse(running: Running) -> bool:
    """Whether forecasts are worse than copy-last: by features, else by classes, else by depth."""
    forecast, copy = running.forecast, running.copy
    if math.isfinite(forecast.feature_error):
        return forecast.feature_error > copy.feature_error
    if math.isfinite(forecast.segmentation_agreement):
        return forecast.segmentation_agreement < copy.segmentation_agreement
    return forecast.depth_error > copy.depth_error


def level_and_reason(reports: Mapping[str, CameraReport]) -> tuple[bytes, str]:
    """The level and, most important first, why."""
    silent = {name: r.silent_s for name, r in reports.items() if r.silent_s is not None}
    if len(silent) == len(reports):
        return DiagnosticStatus.STALE, f"no forecast for {min(silent.values()):.0f} s"
    reasons = [f"no forecast from {', '.join(sorted(silent))}"] if silent else []
    for name, report in reports.items():
        if name not in silent:
            lead = f"{name}: " if name else ""
            reasons += [lead + reason for reason in _reasons(report)]
    if any(not report.trained for report in reports.values()):
        reasons.append("untrained: skill says nothing")
    if reasons:
        return DiagnosticStatus.WARN, "; ".join(reasons)
    return DiagnosticStatus.OK, "comparing"


def _reasons(report: CameraReport) -> list[str]:
    reasons = []
    worse = report.worse()
    if worse:
        steps = ", ".join(map(str, worse))
        reasons.append(f"forecasts are worse than copy-last at step {steps}")
    if report.idle_s is not None:
        reasons.append(
            f"for {report.idle_s:.0f} s no frame came near enough to a predicted instant: frames "
            "are forecast too seldom, or tolerance is too small"
        )
    if not report.has_features:
        reasons.append("no features: set forecast_node's publish_features to true")
    return reasons


class MonitorDiagnostics:
    """Publishes running skill, counts and whether all is well."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = advertise(node, DiagnosticArray, "/diagnostics", output_qos())

    def publish(self, streams: Mapping[str, MonitorStream]) -> None:
        """Publish the state now."""
        level, message = level_and_reason(
            {name: report_of(stream) for name, stream in streams.items()}
        )
        values: dict[str, object] = {}
        for camera, stream in streams.items():
            lead = f"camera.{camera}." if camera else ""
            values |= {f"{lead}{key}": value for key, value in values_of(stream).items()}
        models = sorted({s.skill.model.model_name for s in streams.values() if s.skill.model})
        name = self._node.get_fully_qualified_name().lstrip("/")
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(
            build_diagnostics(name, ", ".join(models), level, message, values, header)
        )


def report_of(stream: MonitorStream) -> CameraReport:
    """How well one camera's forecasts do now."""
    now_s = time.monotonic()
    is_silent = stream.watch.is_silent
    idle_s = now_s - stream.compared_s
    is_idle = not is_silent and idle_s >= stream.watch.timeout_s and bool(stream.skill.model)
    model = stream.skill.model
    return CameraReport(
        silent_s=stream.watch.age_s(now_s) if is_silent else None,
        idle_s=idle_s if is_idle else None,
        has_features=stream.has_features,
        trained=model is None or model.trained,
        window=stream.skill.window,
        running=stream.skill.running(),
    )


def values_of(stream: MonitorStream) -> dict[str, object]:
    """Counts and running means of one camera."""
    skill, matcher = stream.skill, stream.skill.matcher
    values: dict[str, object] = {
        "forecasts_received": skill.counts["forecasts_received"],
        "compared": skill.counts["compared"],
        "pending": matcher.pending,
        "dropped_total": matcher.dropped.total(),
    }
    values |= {f"dropped.{reason}": count for reason, count in sorted(matcher.dropped.items())}
    values |= {
        "size_changed": skill.counts["size_changed"],
        "incomplete": stream.assembly.incomplete,
        "broken_messages": stream.broken,
    }
    if skill.model is not None:
        values |= {"model": skill.model.model_name, "trained": skill.model.trained}
    for step, running in skill.running().items():
        lead = f"step_{step}."
        values |= {f"{lead}forecasts": running.forecasts, f"{lead}skill": running.skill}
        for prefix, means in (("", running.forecast), ("copy_", running.copy)):
            values |= {f"{lead}{prefix}{name}": getattr(means, name) for name in _MEANS}
    return values
