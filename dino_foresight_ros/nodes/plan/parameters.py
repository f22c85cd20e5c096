"""The parameters of plan_node."""

from __future__ import annotations

from dino_foresight_ros.outputs import horizons_problem
from dino_foresight_ros.ros.motion_parameters import MOTION_PARAMETERS
from dino_foresight_ros.ros.parameters import DIAGNOSTICS_PERIOD, Change, ParameterSpec

PLAN_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "rate_hz",
        2.0,
        "How often to plan, at most; a plan that takes longer is waited for, 30 s a round.",
        Change.NEVER,
        limits=(0.05, 20.0),
    ),
    ParameterSpec(
        "candidates",
        32,
        "How many arcs a round judges.",
        Change.ANY_TIME,
        limits=(4, 256),
    ),
    ParameterSpec(
        "rounds",
        2,
        "How many rounds of the cross-entropy search; the first is a fan.",
        Change.ANY_TIME,
        limits=(1, 8),
    ),
    ParameterSpec(
        "horizons_s",
        [],
        "Horizons to judge at, rising, seconds; empty: those of forecast_node.",
        Change.ANY_TIME,
        check=lambda horizons_s: horizons_problem(horizons_s) if horizons_s else None,
        element=float,
    ),
    ParameterSpec("max_speed_mps", 3.0, "Fastest arc, m/s.", Change.ANY_TIME, limits=(0.05, 60.0)),
    ParameterSpec(
        "max_yaw_rate_rps", 0.8, "Sharpest turn, rad/s.", Change.ANY_TIME, limits=(0.01, 10.0)
    ),
    ParameterSpec(
        "max_lateral_acceleration_mps2",
        2.0,
        "Speed times yaw rate of an arc is at most this, m/s^2.",
        Change.ANY_TIME,
        limits=(0.01, 50.0),
    ),
    ParameterSpec(
        "min_turning_radius_m",
        0.0,
        "Radius of the tightest arc, as of a car; 0: the base can turn where it stands.",
        Change.ANY_TIME,
        limits=(0.0, 100.0),
    ),
    ParameterSpec(
        "heading_deg",
        0.0,
        "Where to go while there is no goal: degrees to the left of straight on. A change ends the "
        "standing at a goal that was reached.",
        Change.ANY_TIME,
        limits=(-180.0, 180.0),
    ),
    ParameterSpec(
        "goal_tolerance_m",
        0.5,
        "So near to the goal, in metres, it counts as reached.",
        Change.ANY_TIME,
        limits=(0.0, 1000.0),
    ),
    ParameterSpec(
        "progress_weight",
        1.0,
        "How much progress towards the goal counts, beside forecast_node's imagine_weights.",
        Change.ANY_TIME,
        limits=(0.0, 1000.0),
    ),
    ParameterSpec(
        "stream_timeout_s",
        5.0,
        "No plan is published once the newest picture has been the same for so many seconds of the "
        "node's clock.",
        Change.ANY_TIME,
        limits=(0.2, 3600.0),
    ),
    DIAGNOSTICS_PERIOD,
    ParameterSpec(
        "seed", 0, "Of the search's random numbers.", Change.NEVER, limits=(0, 2**31 - 1)
    ),
    *MOTION_PARAMETERS,
)
