"""A procedural driving world with exact ground truth. numpy and OpenCV only."""

from dino_foresight_ros.synthetic.config import (
    CRUISE_SPEED_MPS,
    RANGES,
    SCENES,
    WEATHERS,
    Conditions,
    WorldConfig,
)
from dino_foresight_ros.synthetic.drive import Control, Drive
from dino_foresight_ros.synthetic.hazards import HAZARDS
from dino_foresight_ros.synthetic.road_users import Obstacle
from dino_foresight_ros.synthetic.world import Frame, World

__all__ = [
    "CRUISE_SPEED_MPS",
    "HAZARDS",
    "RANGES",
    "SCENES",
    "WEATHERS",
    "Conditions",
    "Control",
    "Drive",
    "Frame",
    "Obstacle",
    "World",
    "WorldConfig",
]
