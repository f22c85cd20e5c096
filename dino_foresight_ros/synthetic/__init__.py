"""A procedural driving world with exact ground truth. numpy and OpenCV only."""

from dino_foresight_ros.synthetic.config import (
    CRUISE_SPEED_MPS,
    RANGES,
    SCENES,
    WEATHERS,
    Conditions,
    WorldConfig,
)
from dino_foresight_ros.synthetic.world import Frame, World

__all__ = [
    "CRUISE_SPEED_MPS",
    "RANGES",
    "SCENES",
    "WEATHERS",
    "Conditions",
    "Frame",
    "World",
    "WorldConfig",
]
