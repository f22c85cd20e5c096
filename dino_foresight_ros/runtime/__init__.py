"""Arrays in, arrays out: the engine owns state and time. No ROS."""

from dino_foresight_ros.runtime.feature_buffer import Arrival, ContextRule, FeatureBuffer
from dino_foresight_ros.runtime.forecast import Forecast, StepForecast
from dino_foresight_ros.runtime.foresight import CameraFrame, Foresight, ModelOutputError

__all__ = [
    "Arrival",
    "CameraFrame",
    "ContextRule",
    "FeatureBuffer",
    "Forecast",
    "Foresight",
    "ModelOutputError",
    "StepForecast",
]
