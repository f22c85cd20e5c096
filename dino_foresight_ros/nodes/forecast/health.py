"""How well the forecast node does: a diagnostic level and its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from diagnostic_msgs.msg import DiagnosticStatus

if TYPE_CHECKING:  # the runtime brings torch, which a node's start must not wait for
    from dino_foresight_ros.runtime.statistics import FrameCounts


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
    """What a running node is judged by.

    Attributes:
        silent_s: cameras whose stream stopped -> seconds without a frame.
        cameras: how many there are.
        has_listeners: whether somebody subscribes to any output.
        latency_ms: of recent forecasts; None without any.
        rate_hz: forecasts per second.
        stall: None while forecasts come.
        context: filling of the context, in words.
        trained: whether the model is.
    """

    silent_s: Mapping[str, float] = field(default_factory=dict)
    cameras: int = 1
    has_listeners: bool = True
    latency_ms: float | None = None
    rate_hz: float = 0.0
    stall: Stall | None = None
    context: str = ""
    trained: bool = True


def judge(report: Report, limits: Thresholds) -> tuple[bytes, str]:
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
    if report.has_listeners:
        reasons += _missing(report, limits)
    if not report.trained:
        # A warning for as long as it runs: nothing may act on what it forecasts.
        reasons.append("untrained: forecasts mean nothing")
    if not reasons:
        return level, "forecasting" if report.has_listeners else "idle: nobody subscribes"
    return max(level, DiagnosticStatus.WARN), "; ".join(reasons)


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
