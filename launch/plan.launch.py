"""Starts plan_node beside a running forecast_node.

ros2 launch dino_foresight_ros plan.launch.py odom:=/odom goal_pose:=/goal_pose
"""

from __future__ import annotations

from launch import LaunchDescription

from dino_foresight_ros.ros.companion_launch import companion_launch


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return companion_launch(
        "plan_node",
        "plan.yaml",
        {"odom": "Topic of odometry.", "goal_pose": "Topic of the goal."},
    )
