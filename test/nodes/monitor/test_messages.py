"""Messages that the monitor reads, good and broken."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")


from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, ForecastStep
from dino_foresight_ros.nodes.monitor.assembly import Part
from dino_foresight_ros.nodes.monitor.messages import read_forecast

VALUES = np.array([[[1.5, -2.0], [0.0, 4.0], [3.25, 8.0]]], np.float32)


def test_a_forecast_becomes_a_frame_and_its_predictions() -> None:
    message = Forecast(frame_interval=0.2, model_name="m", trained=True)
    message.header.frame_id = "cam"
    message.header.stamp.sec = 7
    message.steps = [ForecastStep(step=1, horizon=0.2), ForecastStep(step=2, horizon=0.4)]
    message.steps[1].target_stamp.sec = 8
    parts = {Part("features"): VALUES, Part("features", 2): 2 * VALUES}
    frame, predictions = read_forecast(message, parts)
    assert (frame.stamp_ns, frame.frame_id, frame.model_name) == (7 * 10**9, "cam", "m")
    assert frame.interval_ns == pytest.approx(2e8, abs=10)
    assert frame.trained
    assert frame.scene.features is VALUES
    assert frame.scene.segmentation is None
    assert [p.step for p in predictions] == [1, 2]
    assert predictions[1].stamp_ns == 8 * 10**9
    assert predictions[0].features is None
    np.testing.assert_array_equal(predictions[1].features, 2 * VALUES)


@pytest.mark.parametrize("interval", [0.0, -1.0, math.nan, math.inf])
def test_a_forecast_without_an_interval_is_refused(interval: float) -> None:
    with pytest.raises(InputError, match="frame_interval is"):
        read_forecast(Forecast(frame_interval=interval), {})


@pytest.mark.parametrize("step", [0, 17, 2**32 - 1])
def test_a_forecast_with_an_impossible_step_is_refused(step: int) -> None:
    message = Forecast(frame_interval=0.2, steps=[ForecastStep(step=step)])
    with pytest.raises(InputError, match=f"has step {step}; steps are 1 to 16"):
        read_forecast(message, {})
