"""Arrays to sensor_msgs/Image; `recordings.image_decoding` has the way back."""

from __future__ import annotations

import array
import sys

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

_OUTPUT_ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    "mono8": (np.uint8, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "mono16": (np.uint16, 1),
    "16UC1": (np.uint16, 1),
    "32FC1": (np.float32, 1),
    "32FC3": (np.float32, 3),
}


def image_to_msg(array_: np.ndarray, encoding: str, header: Header) -> Image:
    """Wrap an array in an Image message, copying its buffer once.

    Args:
        array_: (H, W) or (H, W, C) of the encoding's dtype, any strides.
        encoding: one of mono8, mono16, rgb8, bgr8, rgba8, 16UC1, 32FC1, 32FC3.
        header: becomes the message's header.

    Raises:
        ValueError: array and encoding do not fit (a programming error).
    """
    dtype, channels = _OUTPUT_ENCODINGS[encoding]
    found_channels = array_.shape[2] if array_.ndim == 3 else 1
    if array_.dtype != dtype or found_channels != channels or array_.ndim not in (2, 3):
        raise ValueError(f"{encoding} does not hold {array_.dtype} of shape {array_.shape}")
    contiguous = np.ascontiguousarray(array_)
    height, width = contiguous.shape[:2]
    return Image(
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=sys.byteorder == "big",
        step=width * channels * contiguous.itemsize,
        data=_to_bytes(contiguous),
    )


def _to_bytes(contiguous: np.ndarray) -> array.array[int]:
    # rclpy copies element by element unless it is given an array("B").
    data = array.array("B")
    if contiguous.size:
        data.frombytes(contiguous.data.cast("B"))
    return data
