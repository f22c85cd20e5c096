"""Arrays in, arrays out: the engine owns state and time. No ROS."""

from dino_foresight_ros.runtime.context import Arrival, ContextBuffer
from dino_foresight_ros.runtime.context_rules import ContextRule, EvenContext, RecentContext
from dino_foresight_ros.runtime.engine import Foresight
from dino_foresight_ros.runtime.frame import (
    CameraFrame,
    CameraResult,
    Forecast,
    ModelOutputError,
)
from dino_foresight_ros.scene import Scene

__all__ = [
    "Arrival",
    "CameraFrame",
    "CameraResult",
    "ContextRule",
    "EvenContext",
    "RecentContext",
    "ContextBuffer",
    "Forecast",
    "Foresight",
    "ModelOutputError",
    "Scene",
]
