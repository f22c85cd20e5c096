"""Obstacles of a forecast in the robot's base frame, and what its footprint meets on a way.

Arrays in, arrays out: no torch, no ROS.
"""

from dino_foresight_ros.obstacles.grid import GridSpec, smeared
from dino_foresight_ros.obstacles.options import GROUND_CLASSES, ObstacleOptions
from dino_foresight_ros.obstacles.plane import GroundPlane
from dino_foresight_ros.obstacles.points import (
    ObstaclePoints,
    depth_to_sky,
    obstacle_points,
    split_scene,
)
from dino_foresight_ros.obstacles.sweep import Footprint, Sweep, SweptStep, sweep
from dino_foresight_ros.obstacles.view import GroundView

__all__ = [
    "ObstacleOptions",
    "GROUND_CLASSES",
    "GroundPlane",
    "ObstaclePoints",
    "depth_to_sky",
    "obstacle_points",
    "split_scene",
    "GroundView",
    "GridSpec",
    "smeared",
    "Footprint",
    "Sweep",
    "SweptStep",
    "sweep",
]
