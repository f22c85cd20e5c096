"""Compares forecasts with the frames that came: matching, measures, skill. No ROS, no torch.

`label_metrics` and `feature_errors`, which use torch, are imported by their own names.
"""

from dino_foresight_ros.compare.matching import Match, Matcher, nearest_frames
from dino_foresight_ros.compare.measures import (
    COPY_LAST,
    FORECAST,
    ORACLE,
    Difference,
    compare,
    patch_errors,
    skill_of,
)
from dino_foresight_ros.compare.skill import (
    AnalysedFrame,
    Comparison,
    Running,
    RunningSkill,
    SkillMonitor,
)

__all__ = [
    "COPY_LAST",
    "FORECAST",
    "ORACLE",
    "AnalysedFrame",
    "Comparison",
    "Difference",
    "Match",
    "Matcher",
    "Running",
    "RunningSkill",
    "SkillMonitor",
    "compare",
    "nearest_frames",
    "patch_errors",
    "skill_of",
]
