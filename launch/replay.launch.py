"""Plays a recording into forecast_node: `replay.launch.py input:=FILE`.

Every parameter of replay_node is an argument, and so is every argument of forecast.launch.py.
To play with `ros2 bag play` instead, launch forecast.launch.py with use_sim_time:=true and run
`ros2 bag play BAG --clock` beside it.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dino_foresight_ros.nodes.replay_parameters import REPLAY_PARAMETERS
from dino_foresight_ros.ros.topic_names import camera_info_beside
from launch import LaunchContext, LaunchDescription

PACKAGE = "dino_foresight_ros"
# Loading a model takes a while; without waiting, the first frames would be played to nobody.
WAIT_FOR_SUBSCRIBER_S = "120.0"


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Every parameter of the replay, with its own description; empty leaves the node's default."""
    arguments = [
        DeclareLaunchArgument("input", description="Video, folder of pictures or rosbag2 to play."),
        DeclareLaunchArgument(
            "wait_for_subscriber_s",
            default_value=WAIT_FOR_SUBSCRIBER_S,
            description="How many seconds to wait for forecast_node before playing.",
        ),
        DeclareLaunchArgument(
            "shutdown_at_end",
            default_value="true",
            choices=["true", "false"],
            description="Whether everything ends when the recording does.",
        ),
    ]
    # forecast.launch.py declares this one; both nodes take it.
    declared = {argument.name for argument in arguments} | {"image_transport"}
    for spec in REPLAY_PARAMETERS:
        if spec.name not in declared:
            text = f"{spec.description} Empty: {spec.default!r}."
            arguments.append(DeclareLaunchArgument(spec.name, default_value="", description=text))
    return arguments


def start_replay(context: LaunchContext) -> list[Node]:
    """Build the replay's action from the arguments, those of forecast.launch.py included."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    given = {
        spec.name: ParameterValue(
            LaunchConfiguration(spec.name),
            # A list is told from its YAML; launch_ros does not know list[str].
            value_type=None if isinstance(spec.default, list) else type(spec.default),
        )
        for spec in REPLAY_PARAMETERS
        if value(spec.name)
    }
    return [
        Node(
            package=PACKAGE,
            executable="replay_node",
            name="replay_node",
            namespace=value("namespace"),
            output="screen",
            parameters=[given],
            remappings=[
                ("image", value("image")),
                ("camera_info", value("camera_info") or camera_info_beside(value("image"))),
            ],
            arguments=["--ros-args", "--log-level", f"replay_node:={value('log_level')}"],
            on_exit=[Shutdown()] if value("shutdown_at_end") == "true" else [],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    forecast = Path(get_package_share_directory(PACKAGE), "launch", "forecast.launch.py")
    return LaunchDescription(
        [
            *declare_arguments(),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(forecast))),
            # After the include, which declares the arguments that both nodes share.
            OpaqueFunction(function=start_replay),
        ]
    )
