"""`foresight view`: show a running forecast node in a browser, and record it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.node_process import parameter_arguments, run_node


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `foresight view`. A default left out here is the one of view_node."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "view",
        help="show a running forecast node in a browser, and record it",
        description="Serves a page on this machine with the camera, future segmentation, depth, "
        "3D points and plots of whatever forecast nodes run in this ROS domain; time can be "
        "scrubbed back. Ctrl-C ends it.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("--port", type=int, metavar="N", help="of the page, and the next one; default: 9090")
    add("--bind", metavar="ADDRESS", help="default: 127.0.0.1, this machine alone")
    add("--no-browser", action="store_false", dest="open_browser", help="open no browser")
    add("--no-page", action="store_false", dest="serve", help="only record")
    add("--memory-limit", metavar="SIZE", help="how much the page can go back; default: 1GB")
    add(
        "--record",
        action="append",
        type=Path,
        metavar="FILE",
        help=".rrd for rerun, .mcap for ROS tools and Foxglove; may be given twice",
    )
    add("--force", action="store_true", help="replace a file to record to")
    add(
        "--use-sim-time",
        action="store_true",
        help="take the time from /clock: of a recording that is played with its clock",
    )
    add("--max-rate", type=float, dest="max_rate_hz", metavar="HZ", help="default: 10; 0: all")
    add("--max-width", type=int, metavar="PX", help="of pictures; default: 640")
    add("--max-points", type=int, metavar="N", help="in 3D; default: 5000")
    add("--max-depth", type=float, dest="max_depth_m", metavar="M", help="of points; default: 60")
    add("--image", dest="image_topic", metavar="TOPIC", help="default: what the node listens to")
    add("--image-transport", choices=("raw", "compressed"), help="of --image; default: raw")
    add("--camera-info", dest="camera_info_topic", metavar="TOPIC", help="default: beside --image")
    add("--outputs", metavar="FOLDER", help="with --image: of the forecasts; default: foresight")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run view_node in this process."""
    return run_node("view_node", ros_arguments(args))


def ros_arguments(args: argparse.Namespace) -> list[str]:
    """Turn the options that were given into parameters of view_node."""
    given = {"open_browser": True, **vars(args)}
    if "record" in given:
        given["record"] = [str(path.expanduser().absolute()) for path in given["record"]]
    return ["--ros-args", *parameter_arguments(given)]
