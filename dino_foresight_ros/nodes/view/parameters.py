"""The parameters of view_node."""

from __future__ import annotations

from dataclasses import replace

from dino_foresight_ros.ros.parameters import IMAGE_TRANSPORT, Change, ParameterSpec
from dino_foresight_ros.view.server import check_memory_limit

RRD, MCAP = ".rrd", ".mcap"
DEFAULT_PORT = 9090


def _record_problem(values: list[str]) -> str | None:
    for value in values:
        if not value.endswith((RRD, MCAP)):
            return f"{value!r} has no known ending; valid: {RRD} (for rerun) or {MCAP} (for ROS)"
    if len(set(values)) < len(values):
        return "a file is named twice"
    return None


VIEW_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "serve", True, "Whether there is a page to look at; else it is only recorded.", Change.NEVER
    ),
    ParameterSpec(
        "port",
        DEFAULT_PORT,
        "Port of the page; the one after it serves the data.",
        Change.NEVER,
        limits=(1, 65534),
    ),
    ParameterSpec("bind", "127.0.0.1", "Address to listen on; 0.0.0.0 is all.", Change.NEVER),
    ParameterSpec(
        "open_browser", False, "Whether to open the page where there is a display.", Change.NEVER
    ),
    ParameterSpec(
        "memory_limit",
        "1GB",
        "How much data is kept for the page; beyond that the oldest is dropped.",
        Change.NEVER,
        check=check_memory_limit,
    ),
    ParameterSpec(
        "record",
        [],
        f"Files to record to: {RRD} for rerun, {MCAP} for ROS tools and Foxglove.",
        Change.NEVER,
        check=_record_problem,
    ),
    ParameterSpec("force", False, "Whether files that exist are replaced.", Change.NEVER),
    ParameterSpec(
        "image_topic",
        "",
        "The camera's images; empty finds them by the node that forecasts.",
        Change.NEVER,
    ),
    replace(
        IMAGE_TRANSPORT,
        description="What arrives on image_topic: raw (Image) or compressed (CompressedImage).",
        change=Change.NEVER,
    ),
    ParameterSpec(
        "camera_info_topic", "", "Goes with image_topic; empty takes the one beside.", Change.NEVER
    ),
    ParameterSpec(
        "outputs", "foresight", "Goes with image_topic: folder of the forecasts.", Change.NEVER
    ),
    ParameterSpec(
        "max_rate_hz",
        10.0,
        "Most pictures and forecasts shown per second; numbers are plotted at any rate. "
        "0 sets no limit.",
        Change.ANY_TIME,
        limits=(0.0, 1000.0),
    ),
    ParameterSpec(
        "max_width",
        640,
        "Wider pictures are shrunk, wider predicted images thinned out, pixels.",
        Change.NEVER,
        limits=(16, 8192),
    ),
    ParameterSpec(
        "max_points",
        5000,
        "Most points in 3D; a denser depth is thinned out evenly.",
        Change.ANY_TIME,
        limits=(1, 1_000_000),
    ),
    ParameterSpec(
        "max_depth_m",
        60.0,
        "Farther points are left out, metres.",
        Change.ANY_TIME,
        limits=(0.1, 10000.0),
    ),
)
