"""Forecasts per second of a running node: that what is counted is what came."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark import live
from dino_foresight_ros.errors import ForesightError


def test_forecasts_of_a_camera_are_counted_and_timed(
    ros_domain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "WARM_UP_S", 1.0)
    monkeypatch.setattr(live, "FRAMES", 2)
    bundle = make_micro_bundle().save(tmp_path / "micro")
    case = live.LiveCase(str(bundle), seconds=2.0, rate_hz=5.0, size=(48, 64), steps=2)
    found = live.measure_live(case)
    assert 4.0 <= found.frames_hz <= 6.0
    assert 0 < found.forecasts_hz <= found.frames_hz + 0.5
    assert len(found.latency_ms) == round(found.forecasts_hz * 2.0)
    assert (found.latency_ms > 0).all()
    assert "2 steps of segmentation, depth, camera 64x48 at" in live.describe(case, found)


def test_a_node_that_does_not_start_ends_the_measurement_with_its_reason(
    ros_domain: dict[str, str],
) -> None:
    with pytest.raises(ForesightError, match="/no/such/bundle is not a bundle"):
        live.measure_live(live.LiveCase("/no/such/bundle", seconds=1.0, size=(48, 64)))
