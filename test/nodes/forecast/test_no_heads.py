"""A bundle without heads: the node says so, and gives its features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import Client, NodeProcess, stream_until, values_of
from geometry_msgs.msg import Twist, Vector3
from micro_bundle import make_micro_bundle
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from dino_foresight_ros.msg import Candidate, FeatureMap, Forecast
from dino_foresight_ros.srv import Imagine

pytestmark = pytest.mark.process


def test_it_warns_and_its_features_can_be_had(ros_domain: dict[str, str], tmp_path: Path) -> None:
    bundle = replace(make_micro_bundle(), heads={}, tasks={}, trained=True).save(tmp_path / "b")
    parameters = (f"bundle:={bundle}", "device:=cpu", "steps:=1", "stream_timeout_s:=0.5")
    running = NodeProcess(ros_domain, tmp_path / "log", *parameters)
    client = Client()
    try:
        client.wait_until_heard(running)
        (warning,) = [line for line in running.text.splitlines() if "has no heads" in line]
        assert "[WARN]" in warning
        assert "set publish_features to true" in warning
        # Nothing can be imagined with it, whatever comes.
        candidates = [Candidate(twist=Twist(linear=Vector3(x=1.0)), duration=2.0)]
        question = Imagine.Request(candidates=candidates)
        refused = client.call(Imagine, "foresight/imagine", question)
        assert not refused.success
        assert "has no metric depth head" in refused.message
        assert "\n" not in refused.message
        diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
        forecasts = client.subscribe(Forecast, "foresight/forecast")
        first = stream_until(
            client, 10**18, lambda: any("no heads" in d.status[0].message for d in diagnostics)
        )
        assert not forecasts
        assert "no heads" in values_of(diagnostics[-1])["cannot_forecast"]
        wish = Parameter("publish_features", value=True).to_parameter_msg()
        request = SetParameters.Request(parameters=[wish])
        answer = client.call(SetParameters, "forecast_node/set_parameters", request)
        assert answer.results[0].successful
        features = client.subscribe(FeatureMap, "foresight/features")
        # What the monitor judges: the forecast, and features of the frame and of its step.
        stream_until(
            client,
            first[-1] + 200_000_000,
            lambda: bool(forecasts) and {m.step for m in features} == {0, 1},
        )
        assert not forecasts[0].steps[0].segmentation.width
        assert running.end() == 0, running.text
    finally:
        client.close()
        running.kill()
