"""The part of `foresight evaluate` that measures depth against the lidar of a bag."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dino_foresight_ros.cli.train.arguments import Options
from dino_foresight_ros.errors import InputError, UsageError

_ONLY_WITH_BAG = (
    "topic", "points", "fixed_frame", "camera_info", "depth_range", "points_tolerance",
    "occlusion", "scale", "camera_height",
)  # fmt: skip
_RECTIFIED = {"auto": None, "yes": True, "no": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group(
        "depth against lidar", "scores forecast depth in metres at every horizon"
    )
    add = group.add_argument
    add(
        "--bag", nargs="+", type=Path, default=[], metavar="DIR",
        help="rosbag2 with pictures, camera_info, points, /tf and /tf_static; it is data, too",
    )  # fmt: skip
    add("--topic", metavar="T", help="image topic in it (several with commas; default: all)")
    add("--points", metavar="T", help="PointCloud2 topic (default: /lidar_top)")
    add("--fixed-frame", metavar="F", help="a frame that stands still (default: root of /tf)")
    add("--camera-info", metavar="T", help="its topic (default: the one beside the image topic)")
    add(
        "--rectified", choices=("auto", "yes", "no"), default="auto",
        help="pictures by P, or by K and D (default: P where the image topic says rect)",
    )  # fmt: skip
    add(
        "--depth-range", nargs=2, type=float, metavar=("MIN", "MAX"),
        help="depths in metres that are scored (default: 1 80)",
    )  # fmt: skip
    add("--points-tolerance", type=float, metavar="S", help="cloud to picture (default: 0.1 s)")
    add(
        "--occlusion", type=float, metavar="DEG",
        help="leave out points between nearer ones within this angle (default: 2); 0: keep all",
    )  # fmt: skip
    add(
        "--scale", metavar="WAY",
        help="median (default for a relative head), affine or camera-height",
    )  # fmt: skip
    add("--camera-height", type=float, metavar="M", help="of the camera over the road, metres")


def check(options: Options) -> None:
    """Refuse what does not go together, before anything is opened.

    Raises:
        UsageError: no data at all, options without --bag, or no horizons.
    """
    bags = options.get("bag")
    if not options["data"] and not bags:
        raise UsageError("nothing to score is named; give --data SPEC or --bag DIR")
    given = [name for name in _ONLY_WITH_BAG if options.get(name) is not None]
    if options.get("rectified", "auto") != "auto":
        given.append("rectified")
    if given and not bags:
        flag = given[0].replace("_", "-")
        raise UsageError(f"--{flag} goes with --bag DIR, the bag that holds the points")
    if bags and options["horizons"] == ():
        raise UsageError("depth against lidar is scored by horizon; give --horizons, not none")


def bag_specs(options: Options) -> list[str]:
    """The bags as data."""
    topic = "" if options.get("topic") is None else f"?topic={options['topic']}"
    return [f"{path}{topic}" for path in options.get("bag", ())]


def open_lidar(
    options: Options, bundle: Any, recordings: Sequence[Any], warn: Callable[[str], None]
) -> Any:
    """Open the lidar of the recordings that --bag named.

    Raises:
        InputError: it names no bag, or something is missing in one.
    """
    from dino_foresight_ros.recordings.bag import bag_of
    from dino_foresight_ros.training.evaluation.lidar.bag_clouds import LidarOptions
    from dino_foresight_ros.training.evaluation.lidar.scaling import ScaleChoice
    from dino_foresight_ros.training.evaluation.lidar.scorer import LidarDepth

    chosen = {
        "points": options["points"],
        "fixed_frame": options["fixed_frame"],
        "camera_info": options["camera_info"],
        "rectified": _RECTIFIED[options["rectified"]],
        "tolerance_s": options["points_tolerance"],
        "occlusion_deg": options["occlusion"],
    }
    if options["depth_range"] is not None:
        chosen["min_m"], chosen["max_m"] = options["depth_range"]
    lidar = LidarOptions(**{name: value for name, value in chosen.items() if value is not None})
    folders = [path.expanduser().resolve() for path in options["bag"]]
    found = [
        recording
        for recording in recordings
        if (bag := bag_of(recording)) is not None
        and any(bag.path.resolve().is_relative_to(folder) for folder in folders)
    ]
    if not found:
        raise InputError(f"{options['bag'][0]} is no rosbag2; lidar points are read from bags")
    return LidarDepth(
        bundle, found, lidar, ScaleChoice(options["scale"], options["camera_height"]), warn
    )


def summary(report: Any) -> list[str]:
    """A few lines for the terminal; none without lidar."""
    if report is None:
        return []
    from dino_foresight_ros.training.evaluation.lidar.page import scale_text
    from dino_foresight_ros.training.evaluation.tables import lead_text

    lines = []
    for result in report.results:
        rows = result.rows
        others = ", ".join(
            f"{name.replace('_', '-')} {rows[name].abs_rel:.3f}"
            for name in ("copy_last", "oracle")
            if name in rows
        )
        lines.append(
            f"{lead_text(result.lead)}: depth {result.scaling}: AbsRel "
            f"{rows['forecast'].abs_rel:.3f}{f' ({others})' if others else ''}, RMSE "
            f"{rows['forecast'].rmse:.2f} m, {result.points} points"
        )
    return [*lines, *(f"scale, {one.method}: {scale_text(one)}" for one in report.scales)]
