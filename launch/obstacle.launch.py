"""Starts obstacle_node beside a running forecast_node, for nav2.

ros2 launch dino_foresight_ros obstacle.launch.py image:=/camera/image_rect odom:=/odom
"""

from __future__ import annotations

from launch import LaunchDescription

from dino_foresight_ros.ros.companion_launch import companion_launch


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return companion_launch(
        "obstacle_node",
        "obstacle.yaml",
        {
            "image": "Topic of the only camera's images; a last part with rect, such as "
            "image_rect, says that they are rectified.",
            "camera_info": "Topic of its calibration. Empty: camera_info beside the images.",
            "odom": "Topic of odometry.",
            "plan": "Topic of the plan that is followed, where the parameter motion is path.",
        },
        {
            "grid_frame": "Frame of the grids: odom for nav2, as its costmap's global_frame. "
            "Empty: as in the parameter file."
        },
    )
