"""Pictures from bytes: files, compressed messages and raw message buffers, all to RGB."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")

# encoding -> (bytes per sample, channels, OpenCV conversion to RGB or None).
# OpenCV names a Bayer pattern by the second row's first pixels, hence the swapped letters.
_ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (1, 3, None),
    "8UC3": (1, 3, cv2.COLOR_BGR2RGB),
    "bgr8": (1, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (1, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (1, 4, cv2.COLOR_BGRA2RGB),
    "8UC4": (1, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (2, 3, None),
    "bgr16": (2, 3, cv2.COLOR_BGR2RGB),
    "bayer_rggb8": (1, 1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, 1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, 1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, 1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (1, 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (1, 2, cv2.COLOR_YUV2RGB_YUYV),
}


class ImageDecodeError(Exception):
    """A picture that cannot be decoded; the text says why."""


def decode_picture(data: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Decode a whole picture file (JPEG, PNG, ...) to (H, W, 3) uint8 RGB."""
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size == 0:
        raise ImageDecodeError("empty")
    if _is_cut(bytes(buffer[:8]), buffer):
        raise ImageDecodeError("cut off before its end")
    try:
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise ImageDecodeError("not a picture that OpenCV can decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _is_cut(head: bytes, buffer: NDArray[np.uint8]) -> bool:
    """OpenCV fills a cut-off JPEG with grey and a PNG with black; their end marks tell."""
    if head.startswith(b"\xff\xd8\xff"):
        # In the second half, because a thumbnail in the header has an end mark of its own.
        return buffer[buffer.size // 2 :].tobytes().rfind(b"\xff\xd9") < 0
    if head.startswith(b"\x89PNG"):
        return buffer[-64:].tobytes().rfind(b"IEND") < 0
    return False


def decode_raw(
    data: bytes | NDArray[np.uint8],
    *,
    height: int,
    width: int,
    step: int,
    encoding: str,
    is_bigendian: bool = False,
) -> NDArray[np.uint8]:
    """Convert the fields of a sensor_msgs/Image to (H, W, 3) uint8 RGB; `step` is bytes a row."""
    if encoding not in _ENCODINGS:
        raise ImageDecodeError(f"encoding {encoding!r} is not a colour or grey picture")
    depth, channels, conversion = _ENCODINGS[encoding]
    row = width * channels * depth
    buffer = np.frombuffer(data, np.uint8)
    step = step or row
    if min(height, width) < 1 or step < row or buffer.size < step * (height - 1) + row:
        raise ImageDecodeError(
            f"{buffer.size} bytes do not hold {width}x{height} {encoding} with step {step}"
        )
    rows = np.lib.stride_tricks.as_strided(buffer, (height, row), (step, 1))
    image: NDArray = np.ascontiguousarray(rows)
    if depth == 2:
        image = image.view(np.dtype(np.uint16).newbyteorder(">" if is_bigendian else "<"))
        image = (image >> 8).astype(np.uint8)
    image = image.reshape(height, width, channels) if channels > 1 else image
    return image if conversion is None else cv2.cvtColor(image, conversion)  # type: ignore
