"""The parameters of obstacle_node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dino_foresight_ros.obstacles import GROUND_CLASSES, GridSpec
from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.ros.motion_parameters import footprint_problem
from dino_foresight_ros.ros.parameters import (
    Change,
    ParameterSpec,
    camera_names_problem,
    camera_topic_problem,
)
from dino_foresight_ros.topic_names import CAMERA_FIELD


def _pose_problem(numbers: list[float]) -> str | None:
    return None if len(numbers) in (0, 6) else "give x, y, z (m) and roll, pitch, yaw (degrees)"


def grid_of(values: Mapping[str, Any]) -> GridSpec:
    """The grid that the parameters ask for.

    Raises:
        UsageError: it has too many cells or none.
    """
    return GridSpec(
        resolution_m=float(values["grid_resolution_m"]),
        ahead_m=float(values["grid_ahead_m"]),
        behind_m=float(values["grid_behind_m"]),
        aside_m=float(values["grid_aside_m"]),
        base=(0.0, 0.0, 0.0) if values["grid_frame"] else None,
    )


OBSTACLE_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "cameras",
        [],
        "Names of the cameras whose forecasts are fused, as forecast_node's. Empty: one camera, "
        "whose topics begin with no name.",
        Change.NEVER,
        check=camera_names_problem,
    ),
    ParameterSpec(
        "camera_topic",
        f"{CAMERA_FIELD}/image",
        "Image topic of each of the cameras, as forecast_node's: camera_info is beside it, and a "
        "last part with rect, such as image_rect, says that P and R of it hold, not K and D.",
        Change.NEVER,
        check=camera_topic_problem,
    ),
    ParameterSpec(
        "steps",
        3,
        "For how many steps there are topics; later ones of a forecast are left out.",
        Change.NEVER,
        limits=(1, MAX_STEPS),
    ),
    ParameterSpec(
        "base_frame",
        "base_link",
        "Frame of the robot's base: x forward, y left, z up.",
        Change.NEVER,
    ),
    ParameterSpec(
        "camera_pose",
        [],
        "Of the only camera's body in the base frame, instead of TF: x, y, z in metres and roll, "
        "pitch, yaw in degrees (positive pitch looks down).",
        Change.NEVER,
        check=_pose_problem,
        element=float,
    ),
    ParameterSpec(
        "ground_classes",
        list(GROUND_CLASSES),
        "Classes that are ground. Without sidewalk, kerbs above min_height_m are obstacles.",
        Change.ANY_TIME,
    ),
    ParameterSpec(
        "ground_height_m",
        0.0,
        "Height of the floor in the base frame, metres.",
        Change.ANY_TIME,
        limits=(-10.0, 10.0),
    ),
    ParameterSpec(
        "min_height_m",
        0.15,
        "Lower points are ground whatever their class, metres above the fitted ground.",
        Change.ANY_TIME,
        limits=(0.0, 10.0),
    ),
    ParameterSpec(
        "max_height_m",
        2.2,
        "Higher points are left out, metres above the ground.",
        Change.ANY_TIME,
        limits=(0.05, 100.0),
    ),
    ParameterSpec(
        "max_range_m",
        30.0,
        "Farther points are left out, metres along the floor.",
        Change.ANY_TIME,
        limits=(0.5, 1000.0),
    ),
    ParameterSpec(
        "min_probability",
        0.3,
        "Less probable points are left out of clouds, grids and contacts.",
        Change.ANY_TIME,
        limits=(0.0, 1.0),
    ),
    ParameterSpec(
        "grid_frame",
        "",
        "Level frame of the grids, such as odom, where TF knows the base; base_frame when empty. "
        "nav2's static layer needs that of its costmap.",
        Change.NEVER,
    ),
    ParameterSpec("grid_resolution_m", 0.1, "Side of a cell, metres.", Change.NEVER, (0.001, 10.0)),
    ParameterSpec("grid_ahead_m", 15.0, "Metres of grid to the front.", Change.NEVER, (0.0, 1e4)),
    ParameterSpec("grid_behind_m", 5.0, "Metres of grid to the back.", Change.NEVER, (0.0, 1e4)),
    ParameterSpec("grid_aside_m", 10.0, "Metres of grid to each side.", Change.NEVER, (0.01, 1e4)),
    ParameterSpec(
        "footprint",
        [],
        "Corners of the robot in the base frame: x0, y0, x1, y1, ... in metres, in turn; "
        "a circle of robot_radius_m where it is empty.",
        Change.NEVER,
        check=footprint_problem,
        element=float,
    ),
    ParameterSpec(
        "robot_radius_m", 0.4, "Of a round robot, metres.", Change.NEVER, limits=(0.01, 20.0)
    ),
    ParameterSpec(
        "footprint_padding_m",
        0.05,
        "Obstacles so near to the outline count as met, metres.",
        Change.NEVER,
        limits=(0.0, 5.0),
    ),
    ParameterSpec(
        "contact_probability",
        0.5,
        "From this probability on something counts as met.",
        Change.ANY_TIME,
        limits=(0.01, 1.0),
    ),
    ParameterSpec(
        "speed_mps",
        0.0,
        "Straight ahead, taken for the robot's motion while there is no odometry, m/s.",
        Change.ANY_TIME,
        limits=(-60.0, 60.0),
    ),
    ParameterSpec(
        "odometry_timeout_s",
        0.5,
        "Odometry that is older than this beside a forecast is not used, seconds.",
        Change.ANY_TIME,
        limits=(0.01, 60.0),
    ),
    ParameterSpec(
        "fuse_within_s",
        0.3,
        "Forecasts of other cameras that are at most so much older are fused, seconds.",
        Change.ANY_TIME,
        limits=(0.0, 10.0),
    ),
)
