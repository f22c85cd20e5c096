"""Start plan_node beside a running forecast_node."""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """The node, with its parameter file."""
    share = FindPackageShare("dino_foresight_ros")
    arguments = [
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([share, "config", "plan.yaml"]),
            description="Parameters of plan_node.",
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Of the node; that of forecast_node."
        ),
        DeclareLaunchArgument("odom", default_value="odom", description="Topic of odometry."),
        DeclareLaunchArgument(
            "goal_pose", default_value="goal_pose", description="Topic of the goal."
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="Whether /clock is the time."
        ),
    ]
    node = Node(
        package="dino_foresight_ros",
        executable="plan_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
        ],
        remappings=[
            ("odom", LaunchConfiguration("odom")),
            ("goal_pose", LaunchConfiguration("goal_pose")),
        ],
        output="screen",
    )
    return LaunchDescription([*arguments, node])
