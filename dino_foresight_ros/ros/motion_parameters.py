"""Parameters about the robot's base, that several nodes have."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.poses import mounting
from dino_foresight_ros.ros.parameters import Change, Parameters, ParameterSpec
from dino_foresight_ros.topic_names import frame_name

if TYPE_CHECKING:
    from dino_foresight_ros.obstacles import Footprint
    from dino_foresight_ros.ros.transforms import Transforms

HOLD, PATH, NONE = "hold", "path", "none"
ASSUMED_MOTIONS = (HOLD, PATH, NONE)
"""How the base is taken to move until horizons."""

MOTION = ParameterSpec(
    "motion",
    HOLD,
    "How the base is taken to move until the horizons, for a model that takes motion: hold "
    "(the twist of odom is held), path (it follows plan) or none.",
    Change.ANY_TIME,
    choices=ASSUMED_MOTIONS,
)
BASE_FRAME = ParameterSpec(
    "base_frame",
    "base_link",
    "Frame of the robot's base: x forward, y left, z up, on the floor.",
    Change.ANY_TIME,
)
ODOMETRY_TIMEOUT = ParameterSpec(
    "odometry_timeout_s",
    0.5,
    "Odometry farther than this from a frame's stamp is stale, seconds.",
    Change.ANY_TIME,
    limits=(0.01, 60.0),
)
MOTION_PARAMETERS: tuple[ParameterSpec, ...] = (
    BASE_FRAME,
    ODOMETRY_TIMEOUT,
    ParameterSpec(
        "path_speed_mps",
        0.5,
        "Least speed, m/s, at which paths without stamps are taken to be driven.",
        Change.ANY_TIME,
        limits=(0.01, 60.0),
    ),
)


def footprint_of(numbers: list[float], radius_m: float, padding_m: float = 0.0) -> Footprint:
    """The robot's outline: a polygon x0, y0, x1, y1, ..., or a circle where that is empty.

    Raises:
        UsageError: it is no outline.
    """
    return _footprint(tuple(numbers), radius_m, padding_m)


@lru_cache(maxsize=4)
def _footprint(numbers: tuple[float, ...], radius_m: float, padding_m: float) -> Footprint:
    """It stays the same from forecast to forecast."""
    from dino_foresight_ros.obstacles import Footprint

    if not numbers:
        return Footprint.circle(radius_m, padding_m)
    if len(numbers) % 2:
        raise UsageError("the footprint has an odd count of numbers; give x and y of every corner")
    return Footprint([numbers[i : i + 2] for i in range(0, len(numbers), 2)], padding_m)


def footprint_problem(numbers: list[float]) -> str | None:
    """Why numbers are no outline; None where they are one, or none are given."""
    try:
        footprint_of(numbers, 1.0)
    except UsageError as error:
        return str(error)
    return None


def _mounts_problem(numbers: list[float]) -> str | None:
    if len(numbers) % 6 or not all(map(math.isfinite, numbers)):
        return (
            f"{len(numbers)} numbers; valid: six finite ones for each camera, x, y, z (m) and "
            "roll, pitch, yaw (degrees)"
        )
    return None


CAMERA_MOUNTS = ParameterSpec(
    "camera_mounts",
    [],
    "Where each camera is on the robot, in the order of cameras: x, y, z in metres and roll, "
    "pitch, yaw in degrees of its body (x forward, z up; positive pitch looks down) in base_frame. "
    "Of those for which there are no numbers, TF says it.",
    Change.ANY_TIME,
    check=_mounts_problem,
    element=float,
)
ROBOT_PARAMETERS: tuple[ParameterSpec, ...] = (
    CAMERA_MOUNTS,
    ParameterSpec(
        "footprint",
        [],
        "Outline of the robot in base_frame: x and y of its corners in turn, metres. Empty: a "
        "circle of robot_radius_m.",
        Change.ANY_TIME,
        check=footprint_problem,
        element=float,
    ),
    ParameterSpec(
        "robot_radius_m",
        0.5,
        "Radius of a robot without footprint, metres.",
        Change.ANY_TIME,
        limits=(0.01, 50.0),
    ),
    ParameterSpec(
        "ground_height_m",
        0.0,
        "Height of the floor in base_frame, where that is not on it, metres.",
        Change.ANY_TIME,
        limits=(-10.0, 10.0),
    ),
    ParameterSpec(
        "max_depth_scale",
        1.6,
        "Depths are scaled so that the ground lies as far below a camera as base_frame has it, by "
        "this factor at most and its inverse at least; 1: never.",
        Change.ANY_TIME,
        limits=(1.0, 10.0),
    ),
    ParameterSpec(
        "contact_probability",
        0.5,
        "From this probability of an obstacle on it counts as met.",
        Change.ANY_TIME,
        limits=(0.01, 1.0),
    ),
)
"""Where the cameras and the floor are, and how large the robot is."""


def base_from_camera(
    parameters: Parameters, index: int, frame_id: str, transforms: Transforms
) -> NDArray[np.float64]:
    """(4, 4) pose of a camera's optical frame in base_frame: by camera_mounts, or else by TF.

    Args:
        parameters: with base_frame and camera_mounts.
        index: which of the cameras.
        frame_id: of its pictures.
        transforms: between frames.

    Raises:
        InputError: there are no numbers of it, and TF does not know it.
    """
    numbers = parameters["camera_mounts"][6 * index : 6 * index + 6]
    if len(numbers):
        return mounting(list(numbers))
    try:
        return transforms.matrix(parameters["base_frame"], frame_name(frame_id))
    except InputError as error:
        raise InputError(f"{error}; camera_mounts may say where the camera is") from error
