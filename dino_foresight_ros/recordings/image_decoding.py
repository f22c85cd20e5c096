"""The one decoder of pictures: files, compressed messages and raw message buffers, all to RGB.

Messages are told by their fields, so that those of rclpy and of rosbags serve alike. What a driver
may do to the buffer (padded rows, either byte order, odd sizes, missing bytes) is handled here;
only the colour conversion of a tidy buffer is left to a library.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rosbags.image import ImageError, message_to_cvimage

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bit_depth import BitDepth
from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.recordings.picture_size import implausible_size, is_cut
from dino_foresight_ros.recordings.video_messages import VideoDecoder, picture_of, video_codec

MIN_BAYER_SIDE = 4
Compression = Literal["jpeg", "png"]

# encoding -> (bytes a sample, samples a pixel of its first plane)
_LAYOUTS: dict[str, tuple[int, int]] = {
    "mono8": (1, 1),
    "mono16": (2, 1),
    **{
        f"{order}{8 * depth}": (depth, len(order))
        for order in ("rgb", "bgr", "rgba", "bgra")
        for depth in (1, 2)
    },
    **{
        f"bayer_{pattern}{8 * depth}": (depth, 1)
        for pattern in ("rggb", "bggr", "gbrg", "grbg")
        for depth in (1, 2)
    },
    **dict.fromkeys(("yuv422", "uyvy", "yuv422_yuy2", "yuyv"), (1, 2)),
    # Below the luma plane: half as many rows of interleaved chroma.
    "nv12": (1, 1),
    "nv21": (1, 1),
}
SUPPORTED_ENCODINGS: tuple[str, ...] = tuple(sorted(_LAYOUTS))
_YUV422 = frozenset(name for name, layout in _LAYOUTS.items() if layout == (1, 2))
MEASUREMENTS = frozenset({"16UC1", "32FC1", "64FC1", "16SC1", "32SC1"})
_SEMI_PLANAR = frozenset({"nv12", "nv21"})


_NO_KEY_FRAME = "no picture before the first key frame, nor of a damaged message"


class ImageDecodeError(InputError):
    """A picture that cannot be decoded; the text says why."""


class PackedImage(NamedTuple):
    """Raw pixels without oddities: 8 bits a sample, rows without padding.

    The fields are named as those of sensor_msgs/Image, so that rosbags-image and cv_bridge take it.
    """

    height: int
    width: int
    step: int
    encoding: str
    data: NDArray[np.uint8]
    is_bigendian: bool = sys.byteorder == "big"


Converter = Callable[[PackedImage], NDArray[np.uint8]]


def convert_with_rosbags(image: PackedImage) -> NDArray[np.uint8]:
    """Convert to (H, W, 3) uint8 RGB by rosbags-image."""
    converted: Any = message_to_cvimage(image, "rgb8")  # type: ignore[arg-type]
    return np.asarray(converted, np.uint8)


class ImageDecoder:
    """Decodes the pictures of one stream: messages, or files one after the other.

    Of video every message must be taken, in order.

    Attributes:
        bit_depth: of its 16-bit pictures, found from them.
    """

    def __init__(
        self,
        tell: Callable[[str], object] | None = None,
        convert: Converter = convert_with_rosbags,
        find_bit_depth: Callable[[], int] | None = None,
    ) -> None:
        """Prepare.

        Args:
            tell: takes a line for the user.
            convert: turns tidy raw pixels into RGB.
            find_bit_depth: see `BitDepth`.
        """
        self.bit_depth = BitDepth(tell, find_bit_depth)
        self._convert = convert
        self._video: VideoDecoder | None = None
        self._taken = -1

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_video": None}

    def take(self, message: Any) -> Callable[[], NDArray[np.uint8]]:
        """Take the next message, and return what decodes it, which may never be called.

        The work on video that later messages need is done here.
        """
        codec = video_codec(str(message.format)) if hasattr(message, "format") else None
        if codec is None:
            return partial(self._decode, message)
        try:
            if self._video is None or self._video.codec != codec:
                self._video = VideoDecoder(codec)
            self._taken += 1
            found = dict(self._video.feed(message.data, self._taken))
        except InputError as error:
            return partial(_refuse, str(error))
        frame = found.get(self._taken)
        if frame is not None:
            return partial(picture_of, frame)
        why = "pictures come late: have the encoder make no B frames" if found else _NO_KEY_FRAME
        return partial(_refuse, f"{message.format} video: {why}")

    def decode(self, message: Any) -> NDArray[np.uint8]:
        """Decode a sensor_msgs Image or CompressedImage (of rclpy or rosbags).

        16-bit samples are reduced to the upper 8 of the bits that the stream uses.

        Returns:
            (H, W, 3) uint8 RGB, contiguous. It may share memory with the message.

        Raises:
            ImageDecodeError: an encoding that is not a colour or grey picture, an empty or broken
                image, or data that does not fit the size.
        """
        return self.take(message)()

    def _decode(self, message: Any) -> NDArray[np.uint8]:
        if hasattr(message, "format"):
            return self._decode_compressed(str(message.format), message.data)
        return decode_raw(
            message.data,
            height=int(message.height),
            width=int(message.width),
            step=int(message.step),
            encoding=message.encoding,
            is_bigendian=bool(message.is_bigendian),
            convert=self._convert,
            bit_depth=self.bit_depth,
        )

    def decode_picture(
        self, data: bytes | NDArray[np.uint8], *, apply_orientation: bool = True
    ) -> NDArray[np.uint8]:
        """Decode a whole picture file (JPEG, PNG, ...) to (H, W, 3) uint8 RGB.

        `apply_orientation` turns the picture as its EXIF data says: right for photographs, wrong
        for messages, whose camera_info knows the pixels only as the sensor gave them.
        """
        flags = 0 if apply_orientation else cv2.IMREAD_IGNORE_ORIENTATION
        image = self._to_8_bits(_read_file(data, cv2.IMREAD_COLOR | flags))
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def _decode_compressed(self, name: str, data: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Decode as image_transport names it: "RAW; FILE compressed STORED", or only the file."""
        raw, _, stored = (part.strip() for part in name.partition(";"))
        if "compressedDepth" in name:
            raise ImageDecodeError(
                f"compressed image is {name!r}: a depth map, not a camera picture"
            )
        if stored and raw in MEASUREMENTS:
            raise ImageDecodeError(_refusal(raw))
        try:
            # A mosaic is stored as it is, unless the name says that it was converted before.
            if raw.startswith("bayer_") and stored.split()[-1:] not in (["mono8"], ["bgr8"]):
                return self._decode_mosaic(raw, data)
            # Whoever calibrated the camera saw the pixels as they are stored: no EXIF orientation.
            image = self.decode_picture(data, apply_orientation=False)
        except ImageDecodeError as error:
            size = np.frombuffer(data, np.uint8).size
            raise ImageDecodeError(
                f"compressed image ({name or 'no format given'}, {size} bytes) cannot be decoded: "
                f"{error}"
            ) from error
        # Into TIFF goes the raw memory, whose first channel the file calls blue.
        swapped = stored.startswith("tiff") and raw.startswith("rgb")
        return np.ascontiguousarray(image[..., ::-1]) if swapped else image

    def _decode_mosaic(self, raw: str, data: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        stored = _read_file(data, cv2.IMREAD_UNCHANGED)
        if stored.ndim == 3 and stored.shape[2] in (3, 4) and not _is_grey(stored):
            return self.decode_picture(data, apply_orientation=False)  # converted, unsaid
        mosaic = self._to_8_bits(stored if stored.ndim == 2 else stored[..., 0])
        height, width = mosaic.shape
        return decode_raw(
            np.ascontiguousarray(mosaic).reshape(-1),
            height=height,
            width=width,
            step=0,
            encoding=raw.removesuffix("16").removesuffix("8") + "8",
            convert=self._convert,
        )

    def _to_8_bits(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        if image.dtype == np.uint16:
            return self.bit_depth.to_8_bits(image)
        if image.dtype != np.uint8:
            raise ImageDecodeError(f"it holds {image.dtype} values, not a camera picture")
        return image


def _refuse(text: str) -> NDArray[np.uint8]:
    raise ImageDecodeError(text)


def decode_message(message: Any, convert: Converter = convert_with_rosbags) -> NDArray[np.uint8]:
    """Decode a single message, as `ImageDecoder.decode` does those of a stream."""
    return ImageDecoder(convert=convert).decode(message)


def decode_picture(
    data: bytes | NDArray[np.uint8], *, apply_orientation: bool = True
) -> NDArray[np.uint8]:
    """Decode a single picture file, as `ImageDecoder.decode_picture` does those of a stream."""
    return ImageDecoder().decode_picture(data, apply_orientation=apply_orientation)


def _read_file(data: bytes | NDArray[np.uint8], flags: int) -> NDArray[Any]:
    """Decode a picture file to (H, W) or (H, W, C), BGR, samples as deep as they are stored."""
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size == 0:
        raise ImageDecodeError("empty")
    content = buffer.tobytes()
    if is_cut(content):
        raise ImageDecodeError("cut off before its end")
    reason = implausible_size(content)
    if reason is not None:
        raise ImageDecodeError(reason)
    try:
        image: Any = cv2.imdecode(buffer, flags | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise ImageDecodeError("not a picture that OpenCV can decode")
    return np.asarray(image)


def _is_grey(image: NDArray[Any]) -> bool:
    """Whether the first three channels are equal."""
    return np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(
        image[..., 0], image[..., 2]
    )


def encode_picture(
    image: NDArray[np.uint8], compression: Compression, quality: int = 95
) -> NDArray[np.uint8]:
    """Compress (H, W, 3) uint8 RGB to the bytes of a picture file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if compression == "jpeg" else []
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode("." + compression.replace("jpeg", "jpg"), bgr, options)
    if not done:
        raise InputError(f"a {image.shape[1]}x{image.shape[0]} picture does not fit {compression}")
    return data.reshape(-1)


def decode_raw(
    data: bytes | NDArray[np.uint8],
    *,
    height: int,
    width: int,
    step: int,
    encoding: str,
    is_bigendian: bool = False,
    convert: Converter = convert_with_rosbags,
    bit_depth: BitDepth | None = None,
) -> NDArray[np.uint8]:
    """Convert the fields of a sensor_msgs/Image to (H, W, 3) uint8 RGB.

    `step` is bytes a row, 0 where rows are not padded; the last row may lack its padding.
    `bit_depth` is that of the stream's 16-bit samples; found from these alone when None.
    """
    if encoding not in _LAYOUTS:
        raise ImageDecodeError(_refusal(encoding))
    _check_size(height, width, encoding)
    rows = _rows(np.frombuffer(data, np.uint8), height, width, step, encoding)
    if _LAYOUTS[encoding][0] == 2:
        order = ">u2" if is_bigendian else "<u2"
        samples = rows.view(order).astype(np.uint16, copy=False)
        rows = (bit_depth or BitDepth()).to_8_bits(samples)
        encoding = encoding.removesuffix("16") + "8"
    if encoding == "rgb8":
        return rows.reshape(height, width, 3)
    if encoding in _YUV422 and width % 2:
        rows = _complete_pairs(rows)
    packed_width = rows.shape[1] // _LAYOUTS[encoding][1]
    packed = PackedImage(rows.shape[0], packed_width, rows.shape[1], encoding, rows)
    try:
        image = convert(packed)
    except (cv2.error, ImageError, ValueError) as error:
        raise ImageDecodeError(f"image of {width}x{height} does not fit {encoding}") from error
    return image if packed_width == width else np.ascontiguousarray(image[:, :width])


def packed_sample(encoding: str) -> PackedImage | None:
    """A 16x16 picture of noise to try a converter on; None for 16 bits, which none gets to see."""
    depth, samples = _LAYOUTS[encoding]
    if depth == 2:
        return None
    rows = 24 if encoding in _SEMI_PLANAR else 16
    data = np.random.default_rng(0).integers(0, 256, (rows, 16 * samples), np.uint8)
    return PackedImage(rows, 16, data.shape[1], encoding, data)


def _check_size(height: int, width: int, encoding: str) -> None:
    if height < 1 or width < 1:
        raise ImageDecodeError(f"image is empty ({width}x{height}): check the camera driver")
    if encoding.startswith("bayer_") and min(height, width) < MIN_BAYER_SIDE:
        raise ImageDecodeError(f"a Bayer image of {width}x{height} is too small to demosaic")
    if encoding in _SEMI_PLANAR and (height % 2 or width % 2):
        raise ImageDecodeError(f"image of {width}x{height} is odd, which {encoding} cannot be")


def _rows(
    data: NDArray[np.uint8], height: int, width: int, step: int, encoding: str
) -> NDArray[np.uint8]:
    """(rows, bytes a row) without padding: every plane, one below the other."""
    depth, samples = _LAYOUTS[encoding]
    row_bytes = width * samples * depth
    rows = height * 3 // 2 if encoding in _SEMI_PLANAR else height
    step = step or row_bytes
    if step < row_bytes:
        raise ImageDecodeError(
            f"image step is {step} bytes, but {width} pixels of {encoding} take {row_bytes}"
        )
    if data.size < step * (rows - 1) + row_bytes:
        raise ImageDecodeError(
            f"image data has {data.size} bytes, but {rows} rows of {step} bytes make "
            f"{rows * step}: the message was cut"
        )
    padded = np.lib.stride_tricks.as_strided(data, (rows, row_bytes), (step, 1))
    return np.ascontiguousarray(padded)


def _complete_pairs(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two pixels share their chroma; an odd row's last one takes what it lacks from the left."""
    half = rows[:, -4:-2] if rows.shape[1] > 2 else np.full_like(rows, 128)
    return np.hstack((rows, half))


def _refusal(encoding: str) -> str:
    if encoding in MEASUREMENTS:
        reason = "holds measurements such as depth, not a camera picture"
    elif encoding.startswith(("8UC", "16UC", "32FC", "8SC", "16SC", "32SC", "64FC")):
        reason = "does not say what its channels mean (publish it as rgb8 or bgr8)"
    elif not encoding:
        reason = "is not set"
    else:
        reason = "is not supported"
    return f"image encoding {encoding!r} {reason}; supported: {', '.join(SUPPORTED_ENCODINGS)}"
