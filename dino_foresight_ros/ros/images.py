"""sensor_msgs/Image and CompressedImage to arrays and back.

Decoding is done here with numpy and OpenCV rather than with cv_bridge, whose Humble and Jazzy
binaries break beside NumPy 2.
"""

from __future__ import annotations

import array
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError


class _Encoding(NamedTuple):
    """How pixels lie in memory: element type, values per pixel, and the step to RGB."""

    dtype: type[np.unsignedinteger]
    channels: int
    to_rgb: int | None  # an OpenCV colour code; None when the pixels are RGB already


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first
# row's first two: bayer_rggb is OpenCV's BayerBG.
_BAYER_TO_RGB = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(np.uint8, 3, None),
    "bgr8": _Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding(np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding(np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding(np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": _Encoding(np.uint16, 3, None),
    "bgr16": _Encoding(np.uint16, 3, cv2.COLOR_BGR2RGB),
    "rgba16": _Encoding(np.uint16, 4, cv2.COLOR_RGBA2RGB),
    "bgra16": _Encoding(np.uint16, 4, cv2.COLOR_BGRA2RGB),
    "mono16": _Encoding(np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "yuv422": _Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": _Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    **{
        f"bayer_{pattern}{bits}": _Encoding(dtype, 1, code)
        for pattern, code in _BAYER_TO_RGB.items()
        for bits, dtype in ((8, np.uint8), (16, np.uint16))
    },
}
SUPPORTED_ENCODINGS: tuple[str, ...] = tuple(sorted(_ENCODINGS))

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


def msg_to_rgb(msg: Image | CompressedImage) -> np.ndarray:
    """Decode an image message of any supported encoding.

    16-bit values are reduced to their upper 8 bits.

    Returns:
        (H, W, 3) uint8 RGB, contiguous. It may share memory with the message.

    Raises:
        InputError: an encoding that is not a colour or grey picture, an empty image, or data
            that does not fit the size.
    """
    if hasattr(msg, "format"):
        return _decode_compressed(msg)
    encoding = _ENCODINGS.get(msg.encoding)
    if encoding is None:
        raise InputError(_refusal(msg.encoding))
    pixels = _pixels(msg, encoding)
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    if encoding.to_rgb is None:
        return pixels
    if msg.encoding.startswith("bayer_"):
        return _demosaic(pixels, encoding.to_rgb)
    if encoding.channels == 2:
        return _yuv422_to_rgb(pixels, encoding.to_rgb)
    return cv2.cvtColor(pixels, encoding.to_rgb)


def _pixels(msg: Image, encoding: _Encoding) -> np.ndarray:
    """(H, W) or (H, W, C) array without row padding, in native byte order."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    if height == 0 or width == 0:
        raise InputError(f"image is empty ({width}x{height}): check the camera driver")
    itemsize = np.dtype(encoding.dtype).itemsize
    row_bytes = width * encoding.channels * itemsize
    if step < row_bytes:
        raise InputError(
            f"image step is {step} bytes, but {width} pixels of {msg.encoding} take {row_bytes}"
        )
    data = np.frombuffer(msg.data, np.uint8)
    if data.size < height * step:
        raise InputError(
            f"image data has {data.size} bytes, but {height} rows of {step} bytes make "
            f"{height * step}: the message was cut"
        )
    rows = data[: height * step].reshape(height, step)[:, :row_bytes]
    pixels = np.ascontiguousarray(rows).view(encoding.dtype)
    if itemsize > 1 and bool(msg.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    return pixels.reshape(height, width, encoding.channels).squeeze(
        axis=2 if encoding.channels == 1 else ()
    )


def _demosaic(pixels: np.ndarray, code: int) -> np.ndarray:
    height, width = pixels.shape
    if height < 4 or width < 4:
        raise InputError(f"a Bayer image of {width}x{height} is too small to demosaic")
    return cv2.cvtColor(pixels, code)


def _yuv422_to_rgb(pixels: np.ndarray, code: int) -> np.ndarray:
    """(H, W, 2) uint8, two pixels sharing their chroma, to RGB."""
    width = pixels.shape[1]
    if width % 2 == 0:
        return cv2.cvtColor(pixels, code)
    # An odd row ends in half a pair: its other half is taken from the pair before.
    half = pixels[:, -2:-1] if width > 1 else np.full_like(pixels, 128)
    return np.ascontiguousarray(cv2.cvtColor(np.hstack((pixels, half)), code)[:, :width])


def _decode_compressed(msg: CompressedImage) -> np.ndarray:
    name = str(msg.format)
    # "16UC1; compressedDepth" and the like: the part before ";" is the raw encoding.
    raw_encoding = name.split(";")[0].strip() if ";" in name else ""
    if "compressedDepth" in name:
        raise InputError(f"compressed image is {name!r}: a depth map, not a camera picture")
    if raw_encoding and raw_encoding not in _ENCODINGS:
        raise InputError(_refusal(raw_encoding))
    data = np.frombuffer(msg.data, np.uint8)
    if data.size == 0:
        raise InputError("compressed image is empty: check the camera driver")
    picture = None if _is_cut_jpeg(data) else _imdecode(data)
    if picture is None:
        raise InputError(
            f"compressed image ({name or 'no format given'}, {data.size} bytes) cannot be "
            "decoded: cut, broken, or neither JPEG nor PNG"
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _is_cut_jpeg(data: np.ndarray) -> bool:
    """Whether a JPEG lacks its end marker; some OpenCV versions fill up a cut picture in grey."""
    raw = data.tobytes()
    return raw.startswith(b"\xff\xd8") and b"\xff\xd9" not in raw


def _imdecode(data: np.ndarray) -> np.ndarray | None:
    try:
        # A message's pixels are as the camera sent them; an EXIF orientation does not count.
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture: Any = cv2.imdecode(data, flags)
    except cv2.error:
        return None
    return picture


def _refusal(encoding: str) -> str:
    if encoding in {"16UC1", "32FC1", "64FC1", "16SC1"}:
        reason = "holds measurements such as depth, not a camera picture"
    elif encoding.startswith(("8UC", "16UC", "32FC", "8SC", "16SC", "32SC", "64FC")):
        reason = "does not say what its channels mean (publish it as rgb8 or bgr8)"
    elif not encoding:
        reason = "is not set"
    else:
        reason = "is not supported"
    return f"image encoding {encoding!r} {reason}; supported: {', '.join(SUPPORTED_ENCODINGS)}"
