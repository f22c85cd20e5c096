"""Starts forecast_node.

ros2 launch dino_foresight_ros forecast.launch.py image:=/camera/image_raw
ros2 launch dino_foresight_ros forecast.launch.py preset:=six-cameras bundle:=/path/to/bundle
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dino_foresight_ros.ros.topic_names import camera_info_beside
from launch import Action, LaunchContext, LaunchDescription

PACKAGE = "dino_foresight_ros"
LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
PRESETS = ["tiny-cpu", "base-lowres", "base-highres", "six-cameras"]
YES_NO = ["true", "false"]
RESPAWN_DELAY_S = 2.0
# Arguments that set the parameter of the same name, when given; else the files decide.
PARAMETER_ARGUMENTS = ("bundle", "device", "camera_topic", "image_transport")
AS_FILES_SAY = "Empty: as the preset or params_file says."


def _argument(
    name: str, description: str, default: str = "", choices: list[str] | None = None
) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(
        name, default_value=default, description=description, choices=choices
    )


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Every argument, with what `ros2 launch --show-args` says about it."""
    return [
        _argument(
            "preset", "Parameters for a common case: config/PRESET.yaml.", "", ["", *PRESETS]
        ),
        _argument(
            "params_file",
            "YAML file with parameters; what it sets goes over the preset. "
            "Empty: the defaults, which config/forecast.yaml lists.",
        ),
        _argument(
            "bundle",
            f"Folder of the model, hub:owner/name, or untrained-tiny. {AS_FILES_SAY}",
        ),
        _argument("device", f"auto, cpu, cuda or cuda:N. {AS_FILES_SAY}"),
        _argument("image", "Topic of the camera's images.", "image"),
        _argument(
            "image_transport",
            f"Whether image topics carry Image or CompressedImage. {AS_FILES_SAY}",
            "",
            ["", "raw", "compressed"],
        ),
        _argument(
            "camera_info",
            "Topic of the camera's calibration. Empty: camera_info beside the images.",
        ),
        _argument(
            "cameras",
            "Names of several cameras with commas between: front,left,right. "
            f"Then image and camera_info do not count. {AS_FILES_SAY}",
        ),
        _argument(
            "camera_topic",
            f"Image topic of each of the cameras, such as {{camera}}/image_raw. {AS_FILES_SAY}",
        ),
        _argument("namespace", "Namespace of the node and its topics."),
        _argument("use_sim_time", "Whether to take the time from /clock.", "false", YES_NO),
        _argument(
            "respawn",
            f"Whether to start the node again, {RESPAWN_DELAY_S:g} s after it ended.",
            "false",
            YES_NO,
        ),
        _argument("log_level", "The least severe log messages to show.", "info", LOG_LEVELS),
        _argument("rviz", "Whether to start rviz2 with config/forecast.rviz.", "false", YES_NO),
    ]


def parameter_files(preset: str, params_file: str) -> list[str]:
    """The files for the node; a later one goes over an earlier one.

    Raises:
        RuntimeError: params_file does not exist.
    """
    folder = Path(get_package_share_directory(PACKAGE), "config")
    files = [folder / "forecast.yaml"]
    if preset:
        files.append(folder / f"{preset}.yaml")
    if params_file:
        files.append(Path(params_file).expanduser())
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise RuntimeError(f"params_file {missing[0]} does not exist")
    return [str(file) for file in files]


def start_node(context: LaunchContext) -> list[Action]:
    """Build the node's action from the arguments."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context).strip()

    given = {
        name: ParameterValue(value(name), value_type=str)
        for name in PARAMETER_ARGUMENTS
        if value(name)
    }
    if value("cameras"):
        given["cameras"] = [name.strip() for name in value("cameras").strip("[]").split(",")]
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
            parameters=[*parameter_files(value("preset"), value("params_file")), given],
            remappings=[
                ("image", value("image")),
                ("camera_info", value("camera_info") or camera_info_beside(value("image"))),
            ],
            arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
            respawn=value("respawn") == "true",
            respawn_delay=RESPAWN_DELAY_S,
        )
    ]


def start_rviz(context: LaunchContext) -> list[Action]:
    """Start rviz2 where it is wanted and installed."""
    if LaunchConfiguration("rviz").perform(context) != "true":
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz2 is not installed (package rviz2); going on without it")]
    config = Path(get_package_share_directory(PACKAGE), "config", "forecast.rviz")
    sim_time = LaunchConfiguration("use_sim_time").perform(context) == "true"
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            namespace=LaunchConfiguration("namespace"),
            arguments=["-d", str(config)] if config.is_file() else [],
            parameters=[{"use_sim_time": sim_time}],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            *declare_arguments(),
            OpaqueFunction(function=start_node),
            OpaqueFunction(function=start_rviz),
        ]
    )
