"""Levels and reasons of the diagnostics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from diagnostic_msgs.msg import DiagnosticStatus

from dino_foresight_ros.nodes.forecast.diagnostics import (
    Report,
    Stall,
    StallWatch,
    Thresholds,
    diagnose,
)
from dino_foresight_ros.runtime.statistics import FrameCounts

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
LIMITS = Thresholds(500.0, 2000.0, 5.0, 5.0)
GOOD = Report(latency_ms=100.0, rate_hz=8.0, context="4/4 frames")


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, OK, "forecasting"),
        ({"latency_ms": None}, OK, "forecasting"),
        ({"latency_ms": 501.0}, WARN, "latency 501 ms is above 500 ms"),
        ({"latency_ms": 2500.0}, ERROR, "latency 2500 ms is above 2000 ms"),
        ({"rate_hz": 4.0}, WARN, "4.0 forecasts/s are below 5"),
        ({"trained": False}, WARN, "untrained"),
        ({"silent_s": {"": 7.0}}, STALE, "no image for 7 s"),
        ({"silent_s": {"left": 7.0}, "cameras": 2}, WARN, "no image from left"),
        ({"silent_s": {"left": 7.0, "rear": 9.0}, "cameras": 2}, STALE, "no image for 7 s"),
        ({"has_listeners": False, "latency_ms": 9e9, "rate_hz": 0.0}, OK, "idle"),
        ({"stall": Stall(4.0, 40, "too_old")}, OK, "forecasting"),
        (
            {"stall": Stall(9.0, 40, "context_filling"), "context": "1/4 frames"},
            WARN,
            "no forecast for 9 s: of 40 frames most were dropped as context_filling "
            "(context 1/4 frames)",
        ),
        ({"has_outputs": False, "has_listeners": False}, WARN, "no heads: nothing can be"),
        ({"has_outputs": False}, OK, "forecasting"),  # features
        (
            {"rate_problems": {"left": "2 frames/s come"}, "cameras": 2, "rate_hz": 0.0},
            WARN,
            "left: 2 frames/s come; 0.0 forecasts/s are below 5",
        ),
        ({"shared_topics": ["/a/forecast"]}, WARN, "another node publishes on /a/forecast too"),
        # What follows from it is not worth saying.
        ({"rate_problems": {"": "2 frames/s come"}, "rate_hz": 0.0}, WARN, "2 frames/s come"),
    ],
)
def test_level_follows_the_worst_and_says_why(
    change: dict[str, Any], level: bytes, words: str
) -> None:
    got, message = diagnose(replace(GOOD, **change), LIMITS)
    assert got == level
    assert words in message


def test_several_reasons_are_all_said_worst_first() -> None:
    bad = replace(GOOD, trained=False, latency_ms=3000.0, rate_hz=1.0)
    level, message = diagnose(bad, LIMITS)
    assert level == ERROR
    parts = message.split("; ")
    assert [p.split()[0] for p in parts] == ["latency", "1.0", "untrained:"]


def test_zero_switches_a_threshold_off() -> None:
    bad = replace(GOOD, latency_ms=1e9, rate_hz=0.0)
    assert diagnose(bad, Thresholds(0.0, 0.0, 0.0, 5.0)) == (OK, "forecasting")


def counts(forecasts: int, **dropped: int) -> FrameCounts:
    return FrameCounts(forecasts + sum(dropped.values()), forecasts, dropped, 0)


def test_stall_counts_since_the_last_forecast_and_names_the_commonest_reason() -> None:
    watch = StallWatch()
    assert watch.look(counts(5, too_old=90), 10.0) is None
    assert watch.look(counts(5, too_old=90), 11.0) is None  # nothing came: that is another matter
    stall = watch.look(counts(5, too_old=92, bad_image=7), 14.0)
    assert stall == Stall(4.0, 9, "bad_image")
    assert watch.look(counts(6, too_old=95, bad_image=7), 15.0) is None
    assert watch.look(counts(6, too_old=96, bad_image=7), 18.0) == Stall(3.0, 1, "too_old")
    watch.restart()
    assert watch.look(counts(6, too_old=99, bad_image=7), 99.0) is None
