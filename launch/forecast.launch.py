"""Starts forecast_node.

ros2 launch dino_foresight_ros forecast.launch.py image:=/camera/image_raw
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dino_foresight_ros.ros.topic_names import camera_info_beside
from launch import LaunchContext, LaunchDescription

PACKAGE = "dino_foresight_ros"
LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
# Arguments that set the parameter of the same name, when given; else params_file decides.
PARAMETER_ARGUMENTS = ("bundle", "device", "image_transport")


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Every argument, with what `ros2 launch --show-args` says about it."""
    config = Path(get_package_share_directory(PACKAGE), "config", "forecast.yaml")
    return [
        DeclareLaunchArgument(
            "bundle",
            default_value="",
            description="Folder of the model, or untrained-tiny. Empty: as params_file says.",
        ),
        DeclareLaunchArgument(
            "device",
            default_value="",
            description="auto, cpu, cuda or cuda:N. Empty: as params_file says.",
        ),
        DeclareLaunchArgument(
            "image", default_value="image", description="Topic of the camera's images."
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="",
            choices=["", "raw", "compressed"],
            description="Whether that topic carries Image or CompressedImage. "
            "Empty: as params_file says.",
        ),
        DeclareLaunchArgument(
            "camera_info",
            default_value="",
            description="Topic of the camera's calibration. Empty: camera_info beside the images.",
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and its topics."
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(config),
            description="YAML file with the node's parameters.",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=["true", "false"],
            description="Whether to take the time from /clock.",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=LOG_LEVELS,
            description="The least severe log messages to show.",
        ),
    ]


def start_node(context: LaunchContext) -> list[Node]:
    """Build the node's action from the arguments."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    given = {
        name: ParameterValue(value(name), value_type=str)
        for name in PARAMETER_ARGUMENTS
        if value(name)
    }
    if value("use_sim_time") == "true":
        given["use_sim_time"] = True
    # The node's own logger, so that "debug" does not show the middleware's.
    logger = ".".join([*filter(None, value("namespace").split("/")), "forecast_node"])
    return [
        Node(
            package=PACKAGE,
            executable="forecast_node",
            name="forecast_node",
            namespace=value("namespace"),
            output="screen",
            parameters=[value("params_file"), given],
            remappings=[
                ("image", value("image")),
                ("camera_info", value("camera_info") or camera_info_beside(value("image"))),
            ],
            arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription([*declare_arguments(), OpaqueFunction(function=start_node)])
