"""The launch description of a node that runs beside forecast_node: parameter file and topics."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dino_foresight_ros.topic_names import camera_info_beside

PACKAGE = "dino_foresight_ros"
IMAGE, CAMERA_INFO = "image", "camera_info"


def companion_launch(
    node: str,
    parameters: str,
    topics: Mapping[str, str],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """What a launch file's `generate_launch_description` returns.

    Imports `launch`, which a machine without ros2/launch lacks.

    Args:
        node: name of the executable and of the node.
        parameters: its parameter file in config/.
        topics: what it subscribes to -> description. Each is an argument that remaps the topic; by
            default it keeps its name, and camera_info is beside the image.
        texts: parameters of the node that are texts -> description. Each is an argument that goes
            over the parameter file, unless it is empty.

    Returns:
        A launch.LaunchDescription.
    """
    from launch import Action, LaunchContext, LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
    from launch_ros.actions import Node
    from launch_ros.parameter_descriptions import ParameterValue
    from launch_ros.substitutions import FindPackageShare

    def start(context: LaunchContext) -> list[Action]:
        given = {name: str(context.launch_configurations[name]).strip() for name in topics}
        if CAMERA_INFO in given and not given[CAMERA_INFO]:
            given[CAMERA_INFO] = camera_info_beside(given[IMAGE])
        chosen = {name: str(context.launch_configurations[name]).strip() for name in texts}
        chosen = {name: text for name, text in chosen.items() if text}
        sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
        return [
            Node(
                package=PACKAGE,
                executable=node,
                name=node,
                namespace=LaunchConfiguration("namespace"),
                parameters=[
                    LaunchConfiguration("params_file"),
                    {"use_sim_time": sim_time, **chosen},
                ],
                remappings=list(given.items()),
                output="screen",
            )
        ]

    share = FindPackageShare(PACKAGE)
    arguments = [
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([share, "config", parameters]),
            description=f"YAML file with parameters of {node}.",
        ),
        DeclareLaunchArgument(
            "namespace",
            default_value="",
            description="Namespace of the node and its topics; that of forecast_node.",
        ),
        *(
            DeclareLaunchArgument(
                name, default_value="" if name == CAMERA_INFO else name, description=text
            )
            for name, text in topics.items()
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=text)
            for name, text in texts.items()
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=["true", "false"],
            description="Whether to take the time from /clock.",
        ),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
