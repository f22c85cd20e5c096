"""Closed loop in the synthetic world: policies that drive by what they see or foresee, scored."""

from dino_foresight_ros.driving.episode import RATE_HZ, Episode, Instant, drive_episode
from dino_foresight_ros.driving.maneuvers import TIMES_S, Trajectory, ego_footprint
from dino_foresight_ros.driving.monitor import CollisionMonitor
from dino_foresight_ros.driving.perception import CopyLast, Perception, Sensor, Truth
from dino_foresight_ros.driving.policies import POLICIES, Choice, Policy
from dino_foresight_ros.driving.scores import table, totals

__all__ = [
    "POLICIES",
    "RATE_HZ",
    "TIMES_S",
    "Choice",
    "CollisionMonitor",
    "CopyLast",
    "Episode",
    "Instant",
    "Perception",
    "Policy",
    "Sensor",
    "Truth",
    "Trajectory",
    "drive_episode",
    "ego_footprint",
    "table",
    "totals",
]
