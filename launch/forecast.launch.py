"""Starts forecast_node.

ros2 launch dino_foresight_ros forecast.launch.py image:=/camera/image_raw
ros2 launch dino_foresight_ros forecast.launch.py preset:=six-cameras bundle:=/path/to/bundle
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from dino_foresight_ros.ros.parameter_files import parameters_for
from dino_foresight_ros.topic_names import (
    CameraTopics,
    camera_info_beside,
    camera_topics,
    full_name,
)

PACKAGE = "dino_foresight_ros"
LOG_LEVELS = ["debug", "info", "warn", "error", "fatal"]
PRESETS = ["tiny-cpu", "base-lowres", "base-highres", "six-cameras"]
YES_NO = ["true", "false"]
RVIZ_VIEWS = {"camera": "forecast.rviz", "map": "map_view.rviz"}
RESPAWN_DELAY_S = 2.0
# Arguments that set the parameter of the same name, when given; else the files decide.
PARAMETER_ARGUMENTS = ("bundle", "device", "camera_topic", "image_transport", "horizon_from")
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
            f"Folder of the model, hub:owner/name, tiny or untrained-tiny. {AS_FILES_SAY}",
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
        _argument(
            "horizons_s",
            "How far ahead each step lies, seconds with commas between: 0.1,0.5,2.0. "
            f"{AS_FILES_SAY}",
        ),
        _argument(
            "horizon_from",
            f"Whether horizons count from the frame or from now, its publication. {AS_FILES_SAY}",
            "",
            ["", "frame", "now"],
        ),
        _argument("samples", f"How many futures to draw, 1 to 64. {AS_FILES_SAY}"),
        _argument("namespace", "Namespace of the node and its topics."),
        _argument("use_sim_time", "Whether to take the time from /clock.", "false", YES_NO),
        _argument(
            "respawn",
            f"Whether to start the node again, {RESPAWN_DELAY_S:g} s after it ended.",
            "false",
            YES_NO,
        ),
        _argument("log_level", "The least severe log messages to show.", "info", LOG_LEVELS),
        _argument(
            "rviz",
            "Whether to start rviz2, and overlay_node for its pictures and clouds. Of several "
            "cameras, RViz shows the first.",
            "false",
            YES_NO,
        ),
        _argument(
            "fixed_frame",
            "The frame that RViz shows everything in, such as map. Empty: as the view says.",
        ),
        _argument(
            "rviz_view",
            "What RViz looks like: camera (config/forecast.rviz, along the camera's axis), map "
            "(config/map_view.rviz, behind base_link), or a file of your own. "
            "Empty: map where fixed_frame is given, else camera.",
        ),
        _argument(
            "monitor",
            "Whether to start monitor_node, which compares forecasts with what came; then "
            "forecast_node publishes its features.",
            "false",
            YES_NO,
        ),
        _argument(
            "monitor_params_file",
            "YAML file with parameters of monitor_node. "
            "Empty: the defaults, which config/monitor.yaml lists.",
        ),
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


def _value(context: LaunchContext, name: str) -> str:
    return LaunchConfiguration(name).perform(context).strip()


def _names(text: str) -> list[str]:
    return [name for part in text.strip("[]").split(",") if (name := part.strip())]


def _numbers(name: str, text: str) -> list[float]:
    """Numbers with commas between.

    Raises:
        RuntimeError: something else is among them.
    """
    try:
        return [float(part) for part in _names(text)]
    except ValueError:
        raise RuntimeError(f"{name} {text!r} are not numbers with commas between") from None


def start_node(context: LaunchContext) -> list[Action]:
    """Build the node's action from the arguments."""

    def value(name: str) -> str:
        return _value(context, name)

    given = {
        name: ParameterValue(value(name), value_type=str)
        for name in PARAMETER_ARGUMENTS
        if value(name)
    }
    if value("cameras"):
        given["cameras"] = _names(value("cameras"))
    if value("horizons_s"):
        given["horizons_s"] = _numbers("horizons_s", value("horizons_s"))
    if value("samples"):
        given["samples"] = round(_numbers("samples", value("samples"))[0])
    if value("use_sim_time") == "true":
        given["use_sim_time"] = True
    if value("monitor") == "true":
        given["publish_features"] = True
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


def cameras_shown(context: LaunchContext) -> tuple[list[CameraTopics], str]:
    """Topics of the cameras that forecast_node is going to listen to, and their transport."""
    files = parameter_files(_value(context, "preset"), _value(context, "params_file"))
    node = full_name(_value(context, "namespace"), "forecast_node")
    settings = parameters_for(files, node)  # config/forecast.yaml has them all
    cameras = _names(_value(context, "cameras")) or settings["cameras"]
    template = _value(context, "camera_topic") or settings["camera_topic"]
    transport = _value(context, "image_transport") or settings["image_transport"]
    if cameras:
        return camera_topics(cameras, template), transport
    image = _value(context, "image")
    info = _value(context, "camera_info") or camera_info_beside(image)
    return [CameraTopics("", image, info)], transport


def start_overlays(context: LaunchContext) -> list[Action]:
    """Start an overlay_node for each camera, where RViz is wanted."""
    if _value(context, "rviz") != "true":
        return []
    cameras, transport = cameras_shown(context)
    namespace = _value(context, "namespace")
    return [
        Node(
            package=PACKAGE,
            executable="overlay_node",
            name="overlay_node",
            # Where this camera's foresight/... is.
            namespace=full_name(namespace, camera.camera),
            output="screen",
            parameters=[
                {
                    "image_transport": transport,
                    "use_sim_time": _value(context, "use_sim_time") == "true",
                }
            ],
            remappings=[
                ("image", full_name(namespace, camera.image)),
                ("camera_info", full_name(namespace, camera.camera_info)),
            ],
        )
        for camera in cameras
    ]


def start_monitor(context: LaunchContext) -> list[Action]:
    """Start monitor_node where it is wanted.

    Raises:
        RuntimeError: monitor_params_file does not exist.
    """
    if _value(context, "monitor") != "true":
        return []
    parameters: list[Any] = []
    if file := _value(context, "monitor_params_file"):
        path = Path(file).expanduser()
        if not path.is_file():
            raise RuntimeError(f"monitor_params_file {path} does not exist")
        parameters.append(str(path))
    given: dict[str, Any] = {"use_sim_time": _value(context, "use_sim_time") == "true"}
    if cameras := [names.camera for names in cameras_shown(context)[0] if names.camera]:
        given["cameras"] = cameras
    return [
        Node(
            package=PACKAGE,
            executable="monitor_node",
            name="monitor_node",
            namespace=_value(context, "namespace"),
            output="screen",
            parameters=[*parameters, given],
        )
    ]


def rviz_remappings(config: Path, camera: CameraTopics, namespace: str) -> list[tuple[str, str]]:
    """From each topic of the RViz file, which knows of one camera only, to this camera's."""
    topics = set(re.findall(r"(?:Value|Topic): (/foresight/\S+)", config.read_text()))
    # A DepthCloud finds the calibration by itself, beside the depth.
    topics |= {camera_info_beside(topic) for topic in topics if topic.endswith("/depth")}
    own = {topic: camera.outputs + topic.removeprefix("/foresight") for topic in topics}
    return [(topic, full_name(namespace, name)) for topic, name in sorted(own.items())]


def start_rviz(context: LaunchContext) -> list[Action]:
    """Start rviz2 where it is wanted and installed."""
    if _value(context, "rviz") != "true":
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="rviz2 is not installed (package rviz2); going on without it")]
    frame, namespace = _value(context, "fixed_frame"), _value(context, "namespace")
    view = _value(context, "rviz_view") or ("map" if frame else "camera")
    file = RVIZ_VIEWS.get(view)
    config = Path(get_package_share_directory(PACKAGE), "config", file) if file else Path(view)
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            namespace=namespace,
            output="screen",
            arguments=["-d", str(config), *(["-f", frame] if frame else [])],
            parameters=[{"use_sim_time": _value(context, "use_sim_time") == "true"}],
            remappings=rviz_remappings(config, cameras_shown(context)[0][0], namespace),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    return LaunchDescription(
        [
            *declare_arguments(),
            OpaqueFunction(function=start_monitor),
            OpaqueFunction(function=start_node),
            OpaqueFunction(function=start_overlays),
            OpaqueFunction(function=start_rviz),
        ]
    )
