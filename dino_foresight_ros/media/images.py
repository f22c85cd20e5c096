"""Pictures from bytes: files, compressed messages and raw message buffers, all to RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.media.opencv import cv2

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")

# OpenCV names a Bayer pattern by pixels of its second row, hence the swapped letters.
_BAYER_TO_RGB = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
# encoding -> (bytes per sample, channels, OpenCV conversion to RGB or None).
_ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    "rgb8": (1, 3, None),
    "bgr8": (1, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (1, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (1, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": (2, 1, cv2.COLOR_GRAY2RGB),
    "rgba16": (2, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": (2, 4, cv2.COLOR_BGRA2RGB),
    "rgb16": (2, 3, None),
    "bgr16": (2, 3, cv2.COLOR_BGR2RGB),
    "yuv422": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (1, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (1, 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (1, 2, cv2.COLOR_YUV2RGB_YUYV),
    **{
        f"bayer_{pattern}{8 * depth}": (depth, 1, conversion)
        for pattern, conversion in _BAYER_TO_RGB.items()
        for depth in (1, 2)
    },
}


class ImageDecodeError(Exception):
    """A picture that cannot be decoded; the text says why."""


def decode_picture(
    data: bytes | NDArray[np.uint8], *, apply_orientation: bool = True
) -> NDArray[np.uint8]:
    """Decode a whole picture file (JPEG, PNG, ...) to (H, W, 3) uint8 RGB.

    `apply_orientation` turns the picture as its EXIF data says: right for photographs, wrong for
    messages, whose camera_info knows the pixels only as the sensor gave them.
    """
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size == 0:
        raise ImageDecodeError("empty")
    if _is_cut(bytes(buffer[:8]), buffer):
        raise ImageDecodeError("cut off before its end")
    flags = cv2.IMREAD_COLOR | (0 if apply_orientation else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(buffer, flags)
    except cv2.error:
        image = None
    if image is None:
        raise ImageDecodeError("not a picture that OpenCV can decode")
    return _convert(image, cv2.COLOR_BGR2RGB)


def _convert(image: NDArray[np.uint8], conversion: int | None) -> NDArray[np.uint8]:
    if conversion is None:
        return image
    try:
        converted: NDArray[np.uint8] = cv2.cvtColor(image, conversion)
    except cv2.error as error:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ImageDecodeError(f"its size {size} does not fit its encoding") from error
    return converted


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
    rows = np.ascontiguousarray(np.lib.stride_tricks.as_strided(buffer, (height, row), (step, 1)))
    if depth == 2:
        big = np.dtype(np.uint16).newbyteorder(">" if is_bigendian else "<")
        rows = (rows.view(big) >> 8).astype(np.uint8)
    return _convert(rows.reshape(height, width, channels) if channels > 1 else rows, conversion)
