"""The parameters of obstacle_node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dino_foresight_ros.obstacles import GROUND_CLASSES, GridSpec
from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.ros.motion_parameters import (
    BASE_FRAME,
    CAMERA_MOUNTS,
    HOLD,
    MOTION,
    MOTION_PARAMETERS,
    PATH,
    ROBOT_PARAMETERS,
)
from dino_foresight_ros.ros.parameters import (
    CAMERA_TOPIC,
    CAMERAS,
    DIAGNOSTICS_PERIOD,
    Change,
    ParameterSpec,
)


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


def heights_problem(values: Mapping[str, Any]) -> str | None:
    """Why the heights between which obstacles lie leave none; None where they do."""
    low, high = values["min_height_m"], values["max_height_m"]
    if high > low:
        return None
    return f"parameter max_height_m: {high:g} is not above min_height_m, which is {low:g}"


OBSTACLE_PARAMETERS: tuple[ParameterSpec, ...] = (
    replace(
        CAMERAS,
        description="Names of the cameras whose forecasts are fused, as forecast_node's. Empty: "
        "one camera, whose topics begin with no name.",
        change=Change.NEVER,
    ),
    replace(
        CAMERA_TOPIC,
        description="Image topic of each of the cameras, as forecast_node's: camera_info is beside "
        "it, and a last part with rect, such as image_rect, says that P and R of it hold, not K "
        "and D.",
        change=Change.NEVER,
    ),
    ParameterSpec(
        "steps",
        3,
        "For how many steps there are topics; later ones of a forecast are left out.",
        Change.NEVER,
        limits=(1, MAX_STEPS),
    ),
    BASE_FRAME,
    *(
        replace(spec, formerly="camera_pose") if spec is CAMERA_MOUNTS else spec
        for spec in ROBOT_PARAMETERS
    ),
    ParameterSpec(
        "ground_classes",
        list(GROUND_CLASSES),
        "Classes that are ground. Without sidewalk, kerbs above min_height_m are obstacles.",
        Change.ANY_TIME,
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
        "footprint_padding_m",
        0.05,
        "Obstacles so near to the outline count as met, metres.",
        Change.NEVER,
        limits=(0.0, 5.0),
    ),
    ParameterSpec(
        "speed_mps",
        0.0,
        "Straight ahead, taken for the robot's motion while there is no odometry, m/s.",
        Change.ANY_TIME,
        limits=(-60.0, 60.0),
    ),
    replace(
        MOTION,
        description="How the base is taken to move until the horizons, as forecast_node's: hold "
        "(the twist of odom is held) or path (it follows plan).",
        choices=(HOLD, PATH),
    ),
    *(spec for spec in MOTION_PARAMETERS if spec is not BASE_FRAME),
    ParameterSpec(
        "fuse_within_s",
        0.3,
        "Forecasts of other cameras that are at most so much older are fused, seconds.",
        Change.ANY_TIME,
        limits=(0.0, 10.0),
    ),
    DIAGNOSTICS_PERIOD,
)
