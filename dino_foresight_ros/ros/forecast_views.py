"""Forecast messages as arrays: for nodes that show or judge what another node predicted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sensor_msgs.msg import Image

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import FeatureMap, ForecastStep, Labels
from dino_foresight_ros.outputs import IMAGES
from dino_foresight_ros.render.colors import ClassPalette
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.scene import Scene

_FEATURE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def read_palette(labels: Labels | None) -> ClassPalette | None:
    """Names and colours of the classes; None without a segmentation head.

    Raises:
        InputError: names and colours do not fit each other.
    """
    if labels is None or not labels.names:
        return None
    if len(labels.palette) != 3 * len(labels.names):
        raise InputError(
            f"labels have {len(labels.names)} class names but {len(labels.palette)} palette "
            f"values; {3 * len(labels.names)} are needed (r, g, b of each class)"
        )
    flat = [int(value) for value in labels.palette]
    colors = tuple(zip(flat[0::3], flat[1::3], flat[2::3], strict=True))
    return ClassPalette(tuple(labels.names), colors, int(labels.unlabelled))


def read_step(step: ForecastStep) -> Scene:
    """One predicted instant.

    Raises:
        InputError: data that do not fit the sizes of an image.
    """
    return Scene(
        time_to_ns(step.target_stamp),
        step=step.step,
        horizon_s=step.horizon,
        depth_is_metric=bool(step.depth_is_metric),
        **{
            output.name: read_values(
                getattr(step, output.message_field), np.dtype(output.dtype), output.channels or 1
            )
            for output in IMAGES
            if output.message_field
        },
    )


def read_values(message: Image, kind: DTypeLike, channels: int = 1) -> NDArray[Any] | None:
    """(H, W) values of an image of this type (mono8, 32FC1); None for an empty one.

    Of several channels (32FC3) they are (H, W, channels).

    Raises:
        InputError: data that do not fit the sizes.
    """
    if message.width == 0 or message.height == 0:
        return None
    native = np.dtype(kind)
    stored = native.newbyteorder(">" if message.is_bigendian else "<")
    needed = message.width * channels * stored.itemsize
    if len(message.data) != message.height * message.step or message.step < needed:
        raise InputError(
            f"a forecast image of {message.width}x{message.height} pixels, {message.encoding}, "
            f"with rows of {message.step} bytes does not fit {len(message.data)} bytes"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    values = rows[:, :needed].copy().view(stored)
    if channels > 1:
        values = values.reshape(message.height, message.width, channels)
    return values.astype(native, copy=False)


def read_features(message: FeatureMap) -> NDArray[np.float32]:
    """(h, w, C) PCA features.

    Raises:
        InputError: an unknown number format, or data that do not fit the sizes.
    """
    size = _FEATURE_BYTES.get(message.dtype)
    if size is None:
        raise InputError(
            f"features are of type {message.dtype!r}; valid: {', '.join(_FEATURE_BYTES)}"
        )
    shape = (message.grid_height, message.grid_width, message.channels)
    if len(message.data) != math.prod(shape) * size or 0 in shape:
        raise InputError(
            f"features of {shape[0]}x{shape[1]} patches, {shape[2]} channels and {message.dtype} "
            f"do not fit {len(message.data)} bytes"
        )
    order = ">" if message.is_bigendian else "<"
    if message.dtype == "bfloat16":  # the upper half of a float32
        upper = np.frombuffer(message.data, f"{order}u2").astype(np.uint32) << 16
        return upper.view(np.float32).reshape(shape)
    values = np.frombuffer(message.data, f"{order}f{size}")
    return values.astype(np.float32, copy=False).reshape(shape)
