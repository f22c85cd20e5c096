"""The parameters of overlay_node."""

from __future__ import annotations

from dataclasses import replace

from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.ros.parameters import (
    IMAGE_RELIABILITY,
    IMAGE_TRANSPORT,
    Change,
    ParameterSpec,
)

OVERLAY_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "steps",
        3,
        "For how many steps there are topics; a forecast may have fewer or more.",
        Change.NEVER,
        limits=(1, MAX_STEPS),
    ),
    replace(IMAGE_TRANSPORT, change=Change.NEVER),
    replace(IMAGE_RELIABILITY, change=Change.NEVER),
    ParameterSpec(
        "alpha",
        0.5,
        "How strongly classes cover the picture, 0 to 1.",
        Change.ANY_TIME,
        limits=(0.0, 1.0),
    ),
    ParameterSpec(
        "legend", True, "Whether overlays have a legend of the classes in them.", Change.ANY_TIME
    ),
    ParameterSpec(
        "mosaic_width", 1280, "Width of the mosaic in pixels.", Change.ANY_TIME, limits=(320, 7680)
    ),
    ParameterSpec(
        "point_stride",
        2,
        "Every how many pixels of a row and column become a point.",
        Change.ANY_TIME,
        limits=(1, 64),
    ),
    ParameterSpec(
        "max_depth_m",
        60.0,
        "Farther points are left out of the clouds, metres.",
        Change.ANY_TIME,
        limits=(0.1, 10000.0),
    ),
)
