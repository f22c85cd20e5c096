"""The parameters of monitor_node. config/monitor.yaml states them with their defaults."""

from __future__ import annotations

from dataclasses import replace

from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.ros.parameters import CAMERAS, DIAGNOSTICS_PERIOD, Change, ParameterSpec

MONITOR_PARAMETERS: tuple[ParameterSpec, ...] = (
    replace(
        CAMERAS,
        description="Names of several cameras, as forecast_node's parameter. Empty: one camera, "
        "whose topics begin with no name.",
        change=Change.NEVER,
    ),
    ParameterSpec(
        "window",
        100,
        "Over how many forecasts of a step running means are.",
        Change.ANY_TIME,
        limits=(1, 10_000),
    ),
    ParameterSpec(
        "tolerance",
        0.25,
        "How far from the predicted instant the frame that it is compared with may lie, as a "
        "fraction of the model's frame interval.",
        Change.ANY_TIME,
        limits=(0.0, 0.49),
    ),
    ParameterSpec(
        "surprise_step",
        1,
        "Which step's forecast the map of surprise is of.",
        Change.ANY_TIME,
        limits=(1, MAX_STEPS),
    ),
    ParameterSpec(
        "memory_mb",
        512,
        "Most memory, of each camera, for predictions whose instants have not come; beyond it the "
        "oldest are dropped.",
        Change.ANY_TIME,
        limits=(1, 65_536),
    ),
    ParameterSpec(
        "stream_timeout_s",
        5.0,
        "Seconds without a forecast after which diagnostics are STALE.",
        Change.ANY_TIME,
        limits=(0.2, 3600.0),
    ),
    DIAGNOSTICS_PERIOD,
)
