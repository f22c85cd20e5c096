"""Forecasts beside what came: measures, matching by time, running skill. No ROS, no torch."""

from dino_foresight_ros.compare.assembly import Assembly, Part
from dino_foresight_ros.compare.matching import Match, Matcher, Moment, Prediction
from dino_foresight_ros.compare.measures import Analysis, Difference, compare, patch_errors
from dino_foresight_ros.compare.skill import Judgement, SkillMonitor, surprise
from dino_foresight_ros.compare.window import Running, RunningSkill, skill_of

__all__ = [
    "Analysis",
    "Assembly",
    "Difference",
    "Judgement",
    "Match",
    "Matcher",
    "Moment",
    "Part",
    "Prediction",
    "Running",
    "RunningSkill",
    "SkillMonitor",
    "compare",
    "patch_errors",
    "skill_of",
    "surprise",
]
