"""config/planning.rviz shows what plan_node publishes, by displays of the right kind."""

from __future__ import annotations

from pathlib import Path

import yaml

from dino_foresight_ros.topic_names import NEWEST_DRAWN, PLAN_TOPICS

SHOWS = {
    "rviz_default_plugins/Image": "sensor_msgs/Image, rgb8",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/MarkerArray",
    "rviz_default_plugins/Path": "nav_msgs/Path",
}


def test_every_topic_of_the_planner_is_shown_and_the_goal_can_be_set(project_root: Path) -> None:
    manager = yaml.safe_load((project_root / "config" / "planning.rviz").read_text())
    manager = manager["Visualization Manager"]
    shown = {
        display["Topic"]["Value"]: SHOWS[display["Class"]]
        for display in manager["Displays"]
        if "Topic" in display
    }
    topics = (*PLAN_TOPICS, NEWEST_DRAWN)
    assert shown == {f"/foresight/{topic.of_step(0)}": topic.type for topic in topics}
    goals = [t["Topic"]["Value"] for t in manager["Tools"] if t["Class"].endswith("/SetGoal")]
    assert goals == ["/goal_pose"]
    # The goal is set in the fixed frame, which has to stand still.
    assert manager["Global Options"]["Fixed Frame"] == "odom"
