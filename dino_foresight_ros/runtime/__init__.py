"""Arrays in, arrays out: the engine owns state and time. No ROS."""

from dino_foresight_ros.runtime.camera_frame import CameraFrame, CameraResult, ModelOutputError
from dino_foresight_ros.runtime.context import Arrival, ContextBuffer, ContextRule
from dino_foresight_ros.runtime.engine import Foresight
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.scene import Scene

__all__ = [
    "Arrival",
    "CameraFrame",
    "CameraResult",
    "ContextRule",
    "ContextBuffer",
    "Forecast",
    "Foresight",
    "ModelOutputError",
    "Scene",
]
