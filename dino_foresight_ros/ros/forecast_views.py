"""Forecast messages as arrays: for nodes that show or judge what another node predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sensor_msgs.msg import Image

from dino_foresight_ros.msg import ForecastStep, Labels
from dino_foresight_ros.render.palette import ClassPalette
from dino_foresight_ros.render.views import StepView
from dino_foresight_ros.ros.stamps import time_to_ns


def read_palette(labels: Labels | None) -> ClassPalette | None:
    """Names and colours of the classes; None without a segmentation head."""
    if labels is None or not labels.names:
        return None
    flat = [int(value) for value in labels.palette]
    colors = tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
    return ClassPalette(tuple(labels.names), colors, int(labels.unlabelled))


def read_step(step: ForecastStep) -> StepView:
    """One predicted instant."""
    return StepView(
        step=step.step,
        horizon_s=step.horizon,
        target_stamp_ns=time_to_ns(step.target_stamp),
        segmentation=read_values(step.segmentation, np.uint8),
        depth=read_values(step.depth, np.float32),
    )


def read_values(message: Image, kind: DTypeLike) -> NDArray[Any] | None:
    """(H, W) values of a one-channel image of this type (mono8, 32FC1); None for an empty one."""
    if message.width == 0 or message.height == 0:
        return None
    native = np.dtype(kind)
    stored = native.newbyteorder(">" if message.is_bigendian else "<")
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    values = rows[:, : message.width * stored.itemsize].copy().view(stored)
    return values.astype(native, copy=False)
