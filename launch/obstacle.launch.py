"""Start obstacle_node beside a running forecast_node, for nav2."""

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
            default_value=PathJoinSubstitution([share, "config", "obstacle.yaml"]),
            description="Parameters of obstacle_node.",
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Of the node."),
        DeclareLaunchArgument("odom", default_value="odom", description="Topic of odometry."),
        DeclareLaunchArgument(
            "camera_info",
            default_value="camera_info",
            description="Topic of the only camera's calibration.",
        ),
        DeclareLaunchArgument(
            "use_sim_time", default_value="false", description="Whether /clock is the time."
        ),
    ]
    node = Node(
        package="dino_foresight_ros",
        executable="obstacle_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)},
        ],
        remappings=[
            ("odom", LaunchConfiguration("odom")),
            ("camera_info", LaunchConfiguration("camera_info")),
        ],
        output="screen",
    )
    return LaunchDescription([*arguments, node])
