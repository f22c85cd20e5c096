"""Forecasts per second of a running node: that what is counted is what came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import forked_nodes
from forked import ForkedProcess
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark import live

LIMIT_S = 240.0


def measure(
    environment: dict[str, str], folder: Path, bundle: str, **case: Any
) -> tuple[int, list[str]]:
    """Exit code and output of a process that measures; its node starts without imports."""
    words = [json.dumps({"bundle": bundle, "size": (48, 64), **case}), "1.0"]
    log = folder / "log"
    process = ForkedProcess(forked_nodes.measure_live, words, environment, log)
    try:
        return process.wait(LIMIT_S), log.read_text().splitlines()
    finally:
        process.kill()


def test_forecasts_of_a_camera_are_counted_and_timed(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    bundle = str(make_micro_bundle().save(tmp_path / "micro"))
    case = {"seconds": 2.0, "rate_hz": 5.0, "steps": 2}
    code, lines = measure(ros_domain, tmp_path, bundle, **case)
    assert code == 0, lines
    values = json.loads(lines[-1])
    found = live.Live(**values | {"latency_ms": np.array(values["latency_ms"])})
    assert 4.0 <= found.frames_hz <= 6.0
    assert 0 < found.forecasts_hz <= found.frames_hz + 0.5
    assert len(found.latency_ms) == round(found.forecasts_hz * 2.0)
    assert (found.latency_ms > 0).all()
    said = live.describe(live.LiveCase(bundle, size=(48, 64), **case), found)
    assert "2 steps of segmentation, depth, camera 64x48 at" in said


def test_a_node_that_does_not_start_ends_the_measurement_with_its_reason(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    code, lines = measure(ros_domain, tmp_path, "/no/such/bundle", seconds=1.0)
    assert code == 1
    assert "/no/such/bundle is not a bundle" in lines[-1]
