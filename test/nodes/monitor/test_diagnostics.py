"""Levels and reasons of the monitor's diagnostics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticStatus

from dino_foresight_ros.compare import Difference, Running
from dino_foresight_ros.nodes.monitor.diagnostics import CameraReport, is_worse, level_and_reason

OK, WARN, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.STALE
GOOD, BAD = Difference(1.0, 0.9, 0.1), Difference(2.0, 0.8, 0.2)
BETTER, WORSE = Running(20, GOOD, BAD), Running(20, BAD, GOOD)
WELL = CameraReport(running={1: BETTER, 2: BETTER})
NAN = math.nan


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, OK, "comparing"),
        ({"running": {}}, OK, "comparing"),
        ({"running": {1: BETTER, 2: WORSE}}, WARN, "worse than copy-last at step 2"),
        ({"running": {1: WORSE._replace(forecasts=9)}}, OK, "comparing"),
        ({"running": {1: WORSE._replace(forecasts=9)}, "window": 9}, WARN, "at step 1"),
        ({"idle_s": 7.2}, WARN, "for 7 s no frame came near enough to a predicted instant"),
        ({"has_features": False}, WARN, "set forecast_node's publish_features to true"),
        ({"trained": False}, WARN, "untrained: skill says nothing"),
        ({"silent_s": 6.0}, STALE, "no forecast for 6 s"),
    ],
)
def test_level_and_reason(change: dict[str, object], level: bytes, words: str) -> None:
    found, message = level_and_reason({"": replace(WELL, **change)})  # type: ignore[arg-type]
    assert (found, words in message) == (level, True), message


def test_one_silent_camera_of_two_is_a_warning_and_both_are_stale() -> None:
    silent = replace(WELL, silent_s=6.0)
    assert level_and_reason({"left": WELL, "right": silent}) == (WARN, "no forecast from right")
    assert level_and_reason({"left": silent, "right": silent})[0] == STALE


def test_the_camera_is_named_where_there_are_several() -> None:
    report = replace(WELL, running={1: WORSE})
    assert "right: forecasts are worse" in level_and_reason({"left": WELL, "right": report})[1]


@pytest.mark.parametrize(
    ("forecast", "copy", "worse"),
    [
        (Difference(1.0, 0.1, 9.0), Difference(2.0, 0.9, 0.1), False),  # features decide
        (Difference(NAN, 0.5, 0.1), Difference(NAN, 0.6, 0.9), True),
        (Difference(NAN, 0.6, 0.9), Difference(NAN, 0.6, 0.1), False),
        (Difference(NAN, NAN, 0.2), Difference(NAN, NAN, 0.1), True),
        (Difference(), Difference(), False),
        (Difference(0.0), Difference(0.0), False),  # a world that stands still
    ],
)
def test_what_is_worse_than_copy_last(forecast: Difference, copy: Difference, worse: bool) -> None:
    assert is_worse(Running(20, forecast, copy)) == worse
