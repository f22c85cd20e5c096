"""Obstacles of a forecast in the robot's base frame, and what its footprint meets on a trajectory.

Arrays in, arrays out: no torch, no ROS.
"""

from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.footprint import Footprint
from dino_foresight_ros.obstacles.grid import GridSpec, smeared
from dino_foresight_ros.obstacles.mapper import (
    Camera,
    CameraObstacles,
    ObstacleMap,
    obstacles_of,
)
from dino_foresight_ros.obstacles.options import GROUND_CLASSES, ObstacleOptions, ids_of_classes
from dino_foresight_ros.obstacles.plane import GroundPlane
from dino_foresight_ros.obstacles.points import (
    obstacle_points,
    obstacle_rows,
    split_scene,
)
from dino_foresight_ros.obstacles.rows import PointRows
from dino_foresight_ros.obstacles.sweep import Sweep, SweptStep, sweep, sweep_trajectories
from dino_foresight_ros.obstacles.thinning import cell_of, thinned
from dino_foresight_ros.obstacles.view import GroundView, GroundViews

__all__ = [
    "ObstacleOptions",
    "GROUND_CLASSES",
    "ids_of_classes",
    "GroundPlane",
    "ObstaclePoints",
    "obstacle_points",
    "obstacle_rows",
    "split_scene",
    "PointRows",
    "thinned",
    "cell_of",
    "GroundView",
    "GroundViews",
    "GridSpec",
    "smeared",
    "Camera",
    "CameraObstacles",
    "ObstacleMap",
    "obstacles_of",
    "Footprint",
    "Sweep",
    "SweptStep",
    "sweep",
    "sweep_trajectories",
]
