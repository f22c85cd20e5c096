"""Arrays in, arrays out: the engine owns state and time. No ROS."""

from dino_foresight_ros.runtime.camera_frame import CameraFrame, CameraResult, ModelOutputError
from dino_foresight_ros.runtime.feature_buffer import Arrival, ContextRule, FeatureBuffer
from dino_foresight_ros.runtime.forecast import Forecast, StepForecast
from dino_foresight_ros.runtime.foresight import Foresight

__all__ = [
    "Arrival",
    "CameraFrame",
    "CameraResult",
    "ContextRule",
    "FeatureBuffer",
    "Forecast",
    "Foresight",
    "ModelOutputError",
    "StepForecast",
]
