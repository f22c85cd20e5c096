"""`foresight replay`: play an input as ROS topics, replay_node without its parameters' syntax."""

from __future__ import annotations

import argparse
from typing import Any

from dino_foresight_ros.cli.node_process import parameter_arguments, run_node


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `foresight replay`. A default left out here is the one of replay_node."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "replay",
        help="play a video, a folder of pictures or a rosbag2 as ROS topics",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("input", metavar="INPUT", help="video file, folder of pictures, or rosbag2")
    add("--rate", type=float, metavar="X", help="how fast: 2 is twice as fast; default: 1")
    add("--loop", action="store_true", help="start again at the end; the stamps repeat")
    add("--start-s", type=float, metavar="S", help="where to start, in seconds")
    add("--end-s", type=float, metavar="S", help="where to end, in seconds from the beginning")
    add("--topic", metavar="TOPIC", help="which image topic of a bag")
    add("--as-recorded", action="store_true", help="play a bag's images and camera_info unchanged")
    add("--all-topics", action="store_true", help="play every topic of a bag unchanged")
    add("--topics", nargs="+", metavar="TOPIC", help="play just these topics of a bag unchanged")
    add("--image-transport", choices=("raw", "compressed"), help="default: raw")
    add("--frame-id", metavar="NAME", help="default: as recorded, or camera_optical_frame")
    add("--frame-rate-hz", type=float, metavar="HZ", help="of a folder of pictures")
    add("--fov-deg", type=float, metavar="DEG", help="horizontal field of view, for camera_info")
    add("--no-clock", action="store_false", dest="publish_clock", help="do not publish /clock")
    add("--wait-for-subscriber-s", type=float, metavar="S", help="wait at most so long; default: 0")
    add("--wait-for-node", metavar="NAME", help="wait for this node's subscription")
    add("--image-topic", metavar="NAME", help="publish the images here; default: image")
    add("--camera-info-topic", metavar="NAME", help="default: camera_info")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run replay_node in this process."""
    return run_node("replay_node", ros_arguments(args))


def ros_arguments(args: argparse.Namespace) -> list[str]:
    """Turn the options that were given into parameters and remappings of replay_node."""
    given = dict(vars(args))
    arguments = ["--ros-args"]
    for option, name in (("image_topic", "image"), ("camera_info_topic", "camera_info")):
        if option in given:
            arguments += ["-r", f"{name}:={given.pop(option)}"]
    return arguments + parameter_arguments(given)
