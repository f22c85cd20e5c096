"""Plays a recording into forecast_node.

ros2 launch dino_foresight_ros replay.launch.py input:=VIDEO_FOLDER_OR_BAG   (by replay_node)
ros2 launch dino_foresight_ros replay.launch.py bag:=BAG   (by `ros2 bag play` where installed)
ros2 launch dino_foresight_ros replay.launch.py bag:=BAG cameras:=cam_front,cam_back   (or all)

Every parameter of replay_node is an argument, and so is every argument of forecast.launch.py.
"""

from __future__ import annotations

import time
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node
from rclpy.node import NodeNameNonExistentError

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.nodes.replay.parameters import REPLAY_PARAMETERS
from dino_foresight_ros.recordings.bag_play import first_frame_id, play_command, with_transforms
from dino_foresight_ros.topic_names import camera_info_beside, full_name

PACKAGE = "dino_foresight_ros"
FORECAST_NODE = "forecast_node"
# Loading a model takes a while; without waiting, the first frames would be played to nobody.
WAIT_FOR_SUBSCRIBER_S = "120.0"
# What `ros2 bag play` can do as well; with any other parameter given, replay_node plays the bag.
BAG_PLAY_ARGUMENTS = {"topic", "rate", "loop", "start_s", "wait_for_subscriber_s"}
# Launch configurations that this file sets for itself.
WHY_REPLAY_NODE = "why_replay_node"
PLAYED_TOPICS = "played_topics"
POLL_PERIOD_S = 0.25
# Discovery is not symmetric: the subscriber may know of the player a little later.
PLAY_DELAY_S = 1.0


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Every parameter of the replay, with its own description; empty leaves the node's default."""
    arguments = [
        DeclareLaunchArgument(
            "input",
            default_value="",
            description="Video, folder of pictures or rosbag2 for replay_node to play.",
        ),
        DeclareLaunchArgument(
            "bag",
            default_value="",
            description="rosbag2 for `ros2 bag play --clock` to play, in place of input; without "
            "rosbag2, replay_node plays it.",
        ),
        DeclareLaunchArgument(
            "wait_for_subscriber_s",
            default_value=WAIT_FOR_SUBSCRIBER_S,
            description="How many seconds to wait for forecast_node, or wait_for_node, to listen "
            "before playing.",
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


def _value(context: LaunchContext, name: str) -> str:
    # An argument of forecast.launch.py has no default before that file is included.
    return str(context.launch_configurations.get(name, "")).strip()


def _has_several_cameras(context: LaunchContext) -> bool:
    return bool(_value(context, "cameras")) or _value(context, "preset") == "six-cameras"


def prepare(context: LaunchContext) -> list[Action]:
    """Check what is to be played, and make forecast_node's arguments fit it.

    Raises:
        RuntimeError: there is nothing to play, or the bag has no such images or cameras.
    """
    recording, bag = _value(context, "input"), _value(context, "bag")
    if bool(recording) == bool(bag):
        raise RuntimeError(
            "give either input:=VIDEO_FOLDER_OR_BAG or bag:=BAG: which recording is to be played?"
        )
    path = Path(recording or bag).expanduser()
    settings: dict[str, str] = {}
    image_topic = ""  # the one that RViz shows; any when empty
    if bag:
        settings["use_sim_time"] = "true"
        settings[WHY_REPLAY_NODE] = _why_replay_node(context)
    if names := _value(context, "cameras"):
        cameras, image_topic = _prepare_cameras(context, path, names)
        settings |= cameras
    elif bag and not settings[WHY_REPLAY_NODE] and not _has_several_cameras(context):
        image_topic, settings["image_transport"] = _bag_topic(context)
    if _value(context, "rviz") == "true" and not _value(context, "fixed_frame"):
        settings["fixed_frame"] = _image_frame(context, path, image_topic)
        settings["rviz_view"] = _value(context, "rviz_view") or "camera"
    return [SetLaunchConfiguration(name, value) for name, value in settings.items()]


def _prepare_cameras(context: LaunchContext, path: Path, names: str) -> tuple[dict[str, str], str]:
    """Have forecast_node listen to these cameras of a bag, and the player play just those and TF.

    Returns launch configurations to set, and the first camera's image topic.
    """
    from dino_foresight_ros.recordings.bag_cameras import choose_cameras
    from dino_foresight_ros.recordings.bag_reader import BagReader
    from dino_foresight_ros.recordings.bag_topics import no_pictures
    from dino_foresight_ros.recordings.file_kinds import check_exists, is_bag

    wanted = [name for part in names.strip("[]").split(",") if (name := part.strip())]
    try:
        check_exists(path)
        if not is_bag(path):
            raise RuntimeError(f"{path} is not a rosbag2, so it has no several cameras")
        reader = BagReader(path)
        others = no_pictures(reader)
        reader.close()
        template = _value(context, "camera_topic") or None
        found = choose_cameras(path, reader.topics, wanted, template, "camera_topic:=", others)
    except ForesightError as error:
        raise RuntimeError(str(error)) from error
    if found.left_out:
        get_logger("replay.launch.py").warning(f"left out: {', '.join(found.left_out)}")
    images = [topic.name for topic in found.topics.values()]
    infos = [info for name in images if (info := camera_info_beside(name)) in reader.topics]
    settings = {
        "cameras": ",".join(found.names),
        "camera_topic": found.template,
        "image_transport": "compressed" if found.compressed else "raw",
    }
    if not any(_value(context, name) for name in ("topic", "topics", "all_topics")):
        played = with_transforms([*images, *infos], reader.topics)
        settings["topics"] = f"[{', '.join(played)}]"
        settings[PLAYED_TOPICS] = " ".join(played)
    return settings, images[0]


def _image_frame(context: LaunchContext, path: Path, image_topic: str) -> str:
    """Return the frame of the images that are going to be played; empty where it cannot be told."""
    from dino_foresight_ros.nodes.replay.tracks import DEFAULT_FRAME_ID
    from dino_foresight_ros.recordings.file_kinds import is_bag

    given = _value(context, "frame_id")
    if given and not _has_several_cameras(context):  # which are played as recorded
        return given
    try:
        found = first_frame_id(path, image_topic or _topic(context)) if is_bag(path) else ""
    except (ForesightError, OSError):
        return ""  # the player says what is wrong
    return found or DEFAULT_FRAME_ID


def _topic(context: LaunchContext) -> str:
    name = _value(context, "topic").strip("/")
    return f"/{name}" if name else ""


def _why_replay_node(context: LaunchContext) -> str:
    """Return why `ros2 bag play` cannot do what is asked; empty where it can."""
    given = {spec.name for spec in REPLAY_PARAMETERS if _value(context, spec.name)}
    if others := given - BAG_PLAY_ARGUMENTS - {"input", "image_transport"}:
        return f"ros2 bag play has no {', '.join(sorted(others))}"
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError:
        return "ros2 bag play is not installed (package ros2bag)"
    return ""


def _bag_topic(context: LaunchContext) -> tuple[str, str]:
    """Name and transport of the bag's image topic that is to be forecast.

    Raises:
        RuntimeError: the bag cannot be read, or has several image topics and none is chosen.
    """
    from dino_foresight_ros.recordings.bag_reader import BagReader
    from dino_foresight_ros.recordings.bag_topics import choose_topic

    path = Path(_value(context, "bag")).expanduser()
    if not path.exists():
        raise RuntimeError(f"{path} does not exist")
    try:
        reader = BagReader(path)
        reader.close()
        topic = choose_topic(path, reader.topics, _value(context, "topic") or None)
    except ForesightError as error:
        raise RuntimeError(str(error)) from error
    return topic.name, "compressed" if topic.msgtype.endswith("CompressedImage") else "raw"


def start_replay(context: LaunchContext) -> list[Action]:
    """Build the player's action from the arguments, those of forecast.launch.py included."""
    why_replay_node = _value(context, WHY_REPLAY_NODE)
    if _value(context, "bag") and not why_replay_node:
        limit_s = float(_value(context, "wait_for_subscriber_s") or 0.0)
        return _play_once_heard(context, time.monotonic() + limit_s)
    given = {
        spec.name: ParameterValue(
            LaunchConfiguration(spec.name),
            # A list is told from its YAML; launch_ros does not know list[str].
            value_type=None if isinstance(spec.default, list) else type(spec.default),
        )
        for spec in REPLAY_PARAMETERS
        if _value(context, spec.name)
    }
    said: list[Action] = []
    if _value(context, "bag"):
        given["input"] = ParameterValue(LaunchConfiguration("bag"), value_type=str)
        said = [LogInfo(msg=f"replay_node plays the bag: {why_replay_node}")]
    if _has_several_cameras(context):
        given.setdefault("as_recorded", True)
    # Others (RViz, by overlay_node) subscribe while forecast_node still loads its model.
    given.setdefault("wait_for_node", FORECAST_NODE)
    image = _value(context, "image")
    return [
        *said,
        Node(
            package=PACKAGE,
            executable="replay_node",
            name="replay_node",
            namespace=_value(context, "namespace"),
            output="screen",
            parameters=[given],
            remappings=[
                ("image", image),
                ("camera_info", _value(context, "camera_info") or camera_info_beside(image)),
            ],
            arguments=["--ros-args", "--log-level", f"replay_node:={_value(context, 'log_level')}"],
            on_exit=_at_end,
        ),
    ]


def _at_end(event: ProcessExited, context: LaunchContext) -> list[Action]:
    """End everything, unless the player ended because everything does.

    A second shutdown makes launch_ros fail: its adapter can be shut down once.
    """
    if context.is_shutdown or _value(context, "shutdown_at_end") != "true":
        return []
    return [Shutdown(reason="the recording ended")]


def _play_once_heard(context: LaunchContext, deadline_s: float) -> list[Action]:
    """Wait until forecast_node subscribes to images, then play."""
    if not _is_heard(context) and time.monotonic() < deadline_s:
        again = OpaqueFunction(function=_play_once_heard, args=[deadline_s])
        return [TimerAction(period=POLL_PERIOD_S, actions=[again])]
    remappings = {}
    if not _has_several_cameras(context):
        topic, image = _bag_topic(context)[0], _value(context, "image")
        info = _value(context, "camera_info") or camera_info_beside(image)
        namespace = _value(context, "namespace")
        remappings[topic] = full_name(namespace, image)
        remappings[camera_info_beside(topic)] = full_name(namespace, info)
    command = play_command(
        Path(_value(context, "bag")).expanduser(),
        _value(context, PLAYED_TOPICS).split(),
        remappings,
        rate=_value(context, "rate"),
        start_s=_value(context, "start_s"),
        loop=_value(context, "loop").lower() == "true",
    )
    player = ExecuteProcess(cmd=command, output="screen", on_exit=_at_end)
    return [TimerAction(period=PLAY_DELAY_S, actions=[player])]


def _is_heard(context: LaunchContext) -> bool:
    namespace = "/" + _value(context, "namespace").strip("/")
    try:
        node = get_ros_node(context)
        topics = node.get_subscriber_names_and_types_by_node(FORECAST_NODE, namespace)
    except NodeNameNonExistentError:
        return False
    return any(kind.endswith("Image") for _, kinds in topics for kind in kinds)


def generate_launch_description() -> LaunchDescription:
    """What `ros2 launch` runs."""
    forecast = Path(get_package_share_directory(PACKAGE), "launch", "forecast.launch.py")
    return LaunchDescription(
        [
            *declare_arguments(),
            OpaqueFunction(function=prepare),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(forecast))),
            # After the include, which declares the arguments that both nodes share.
            OpaqueFunction(function=start_replay),
        ]
    )
