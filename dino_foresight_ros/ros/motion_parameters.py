"""Parameters about the robot's base, that several nodes have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.ros.parameters import Change, ParameterSpec

if TYPE_CHECKING:
    from dino_foresight_ros.obstacles import Footprint

HOLD, PATH, NONE = "hold", "path", "none"
ASSUMED_MOTIONS = (HOLD, PATH, NONE)
"""How the base is taken to move until horizons."""

MOTION_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "base_frame",
        "base_link",
        "Frame of the robot's base: x forward, y left, z up, on the floor.",
        Change.ANY_TIME,
    ),
    ParameterSpec(
        "odometry_timeout_s",
        0.5,
        "Odometry farther than this from a frame's stamp is stale, seconds.",
        Change.ANY_TIME,
        limits=(0.01, 60.0),
    ),
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
