"""Parameters about the robot's base, that several nodes have."""

from __future__ import annotations

from dino_foresight_ros.ros.parameters import Change, ParameterSpec

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
