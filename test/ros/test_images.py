"""Image messages against pixels worked out here and against OpenCV."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.image_decoding import SUPPORTED_ENCODINGS, decode_message
from dino_foresight_ros.ros.images import image_to_msg

RGB_KINDS = ("rgb", "bgr", "rgba", "bgra")
BAYER = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}


def random_rgb(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth_rgb(height: int, width: int) -> np.ndarray:
    """A picture without fine detail, which demosaicing and chroma halving hardly change."""
    x = np.linspace(0, 1, width)[None, :]
    y = np.linspace(0, 1, height)[:, None]
    planes = [40 + 160 * x + 0 * y, 200 - 120 * y + 0 * x, 90 + 60 * x * y]
    return np.stack(planes, axis=2).astype(np.uint8)


def build(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """A message as a driver may send it: rows padded with rubbish, either byte order."""
    height, width = pixels.shape[:2]
    order = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = np.frombuffer(order.tobytes(), np.uint8).reshape(height, -1)
    rubbish = np.full((height, padding), 0xA5, np.uint8)
    padded = np.hstack((rows, rubbish))
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=padded.shape[1],
        is_bigendian=big_endian,
        data=padded.tobytes(),
    )


def encode(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """The pixels of each encoding that numpy alone can make from RGB, without loss."""
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    made = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.dstack((rgb, alpha)),
        "bgra8": np.dstack((rgb[..., ::-1], alpha)),
        "rgb16": rgb.astype(np.uint16) * 256 + 99,
        "bgr16": rgb[..., ::-1].astype(np.uint16) * 256 + 99,
        "rgba16": np.dstack((rgb, alpha)).astype(np.uint16) * 256 + 99,
        "bgra16": np.dstack((rgb[..., ::-1], alpha)).astype(np.uint16) * 256 + 99,
    }
    return made[encoding]


@settings(max_examples=120, deadline=None)
@given(
    encoding=st.sampled_from(
        ["rgb8", "bgr8", "rgba8", "bgra8", "rgb16", "bgr16", "rgba16", "bgra16"]
    ),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    padding=st.integers(0, 9),
    big_endian=st.booleans(),
)
def test_colour_survives_any_padding_byte_order_and_size(
    encoding: str, height: int, width: int, padding: int, big_endian: bool
) -> None:
    rgb = random_rgb(height, width, seed=height * 100 + width)
    rgb[0, 0, 0] |= 0x80  # 16-bit samples use their upper bits
    message = build(encode(rgb, encoding), encoding, padding, big_endian)
    decoded = decode_message(message)
    assert decoded.dtype == np.uint8
    assert decoded.flags["C_CONTIGUOUS"]
    assert np.array_equal(decoded, rgb)


@settings(max_examples=60, deadline=None)
@given(
    deep=st.booleans(),
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    padding=st.integers(0, 9),
    big_endian=st.booleans(),
)
def test_grey_becomes_three_equal_channels(
    deep: bool, height: int, width: int, padding: int, big_endian: bool
) -> None:
    grey = random_rgb(height, width)[..., 0]
    grey[0, 0] |= 0x80  # 16-bit samples use their upper bits
    pixels = grey.astype(np.uint16) * 256 + 200 if deep else grey
    decoded = decode_message(build(pixels, "mono16" if deep else "mono8", padding, big_endian))
    assert np.array_equal(decoded, np.dstack((grey, grey, grey)))


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor behind a colour filter sees; `pattern` is its top left 2x2, row by row."""
    raw = np.empty(rgb.shape[:2], np.uint8)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, "rgb".index(colour)]
    return raw


@pytest.mark.parametrize("pattern", sorted(BAYER))
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(48, 64), (49, 63)])
@pytest.mark.parametrize("big_endian", [False, True])
def test_bayer_mosaics_give_the_colours_back(
    pattern: str, bits: int, size: tuple[int, int], big_endian: bool
) -> None:
    rgb = smooth_rgb(*size)
    raw = mosaic(rgb, pattern)
    pixels = raw if bits == 8 else raw.astype(np.uint16) * 256
    decoded = decode_message(build(pixels, f"bayer_{pattern}{bits}", 3, big_endian))
    error = np.abs(decoded.astype(int) - rgb)[2:-2, 2:-2]
    assert error.max() <= 4


def rgb_to_yuv(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, 16 to 235, from the standard's coefficients."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u = (b - y) / 1.772
    v = (r - y) / 1.402
    planes = (16 + y * 219 / 255, 128 + u * 224 / 255, 128 + v * 224 / 255)
    return np.stack(planes, axis=2).round().astype(np.uint8)


def pack_yuv422(rgb: np.ndarray, luma_first: bool) -> np.ndarray:
    """(H, W, 2): chroma of each pair from its first pixel; an odd row ends in half a pair."""
    yuv = rgb_to_yuv(rgb)
    packed = np.empty((*rgb.shape[:2], 2), np.uint8)
    luma, chroma = (0, 1) if luma_first else (1, 0)
    packed[..., luma] = yuv[..., 0]
    packed[:, 0::2, chroma] = yuv[:, 0::2, 1]
    packed[:, 1::2, chroma] = yuv[:, 0 : rgb.shape[1] - 1 : 2, 2]
    return packed


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
@pytest.mark.parametrize("width", [64, 63])
@pytest.mark.parametrize("padding", [0, 6])
def test_yuv422_gives_the_colours_back(encoding: str, width: int, padding: int) -> None:
    rgb = smooth_rgb(31, width)
    packed = pack_yuv422(rgb, luma_first=encoding in ("yuv422_yuy2", "yuyv"))
    decoded = decode_message(build(packed, encoding, padding))
    assert decoded.shape == rgb.shape
    assert np.abs(decoded.astype(int) - rgb).max() <= 8


def test_yuv422_of_one_column_is_grey() -> None:
    packed = np.full((3, 1, 2), 128, np.uint8)
    assert decode_message(build(packed, "yuyv")).shape == (3, 1, 3)


# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first row's
# first two.
OPENCV_CODES = {
    "rgb": None,
    "bgr": cv2.COLOR_BGR2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
    "bgra": cv2.COLOR_BGRA2RGB,
    "mono": cv2.COLOR_GRAY2RGB,
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
}


@pytest.mark.parametrize("encoding", SUPPORTED_ENCODINGS)
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("big_endian", [False, True])
def test_same_pixels_as_opencv(encoding: str, padding: int, big_endian: bool) -> None:
    kind = encoding.removesuffix("16").removesuffix("8")
    code = OPENCV_CODES[kind]
    samples = 2 if "yuv" in kind or kind in ("uyvy", "yuyv") else len(kind) * (kind in RGB_KINDS)
    rows = 24 * 3 // 2 if kind.startswith("nv") else 24
    noise = np.random.default_rng(5).integers(0, 256, (rows, 32, samples or 1), np.uint8).squeeze()
    expected = noise if code is None else cv2.cvtColor(noise, code)
    stored = noise.astype(np.uint16) * 256 + 129 if encoding.endswith("16") else noise
    message = build(stored, encoding, padding, big_endian)
    message.height = 24
    assert np.array_equal(decode_message(message), expected)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_luma_above_chroma_gives_the_colours_back(encoding: str) -> None:
    rgb = smooth_rgb(30, 40)
    yuv = rgb_to_yuv(rgb)
    chroma = yuv[::2, ::2, 1:] if encoding == "nv12" else yuv[::2, ::2, :0:-1]
    message = build(np.vstack((yuv[..., 0], chroma.reshape(15, 40))), encoding)
    message.height = 30
    assert np.abs(decode_message(message).astype(int) - rgb).max() <= 8


def test_rows_that_lack_only_the_last_padding_are_whole() -> None:
    """Some drivers leave the padding of the last row out; others do not state a step."""
    rgb = random_rgb(4, 6)
    message = build(rgb, "rgb8", padding=14)
    message.data = message.data[:-14]
    assert np.array_equal(decode_message(message), rgb)
    message.data = message.data[:-1]
    with pytest.raises(InputError, match="has 113 bytes, but 4 rows of 32 bytes make 128"):
        decode_message(message)
    unstated = build(rgb, "rgb8")
    unstated.step = 0
    assert np.array_equal(decode_message(unstated), rgb)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("jpeg", ".jpg"),
        ("png", ".png"),
        ("rgb8; jpeg compressed bgr8", ".jpg"),
        ("bgr8; png compressed bgr8", ".png"),
        ("", ".png"),
    ],
)
def test_compressed_images_give_the_colours_back(name: str, suffix: str) -> None:
    rgb = smooth_rgb(45, 61)
    data = cv2.imencode(suffix, rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    decoded = decode_message(CompressedImage(format=name, data=data))
    assert np.abs(decoded.astype(int) - rgb).max() <= (0 if suffix == ".png" else 12)


def test_compressed_grey_and_deep_and_transparent_pictures_become_rgb() -> None:
    grey = smooth_rgb(20, 30)[..., 0]
    for pixels in (grey, grey.astype(np.uint16) * 256, np.dstack((grey, grey, grey, grey))):
        data = cv2.imencode(".png", pixels)[1].tobytes()
        decoded = decode_message(CompressedImage(format="png", data=data))
        assert np.array_equal(decoded, np.dstack((grey, grey, grey)))


def broken(**changes: Any) -> Image:
    message = build(random_rgb(8, 10), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (broken(width=0), "empty (0x8)"),
        (broken(height=0), "empty (10x0)"),
        (broken(data=b"\0" * 239), "has 239 bytes, but 8 rows of 30 bytes make 240"),
        (broken(data=b""), "has 0 bytes"),
        (broken(step=29), "step is 29 bytes, but 10 pixels of rgb8 take 30"),
        (broken(encoding="16UC1"), "holds measurements such as depth"),
        (broken(encoding="32FC1"), "holds measurements such as depth"),
        (broken(encoding="8UC3"), "publish it as rgb8 or bgr8"),
        (broken(encoding="nonsense"), "'nonsense' is not supported; supported: bayer_bggr16"),
        (broken(encoding=""), "is not set"),
        (broken(encoding="32FC3"), "does not say what its channels mean"),
        (broken(encoding="nv24"), "'nv24' is not supported; supported: "),
        (broken(encoding="bayer_rggb8", step=10, height=2), "too small to demosaic"),
        (broken(encoding="nv21", width=9), "9x8 is odd, which nv21 cannot be"),
        (broken(height=2**31, step=2**31), "the message was cut"),
        (CompressedImage(format="jpeg", data=b""), "(jpeg, 0 bytes) cannot be decoded: empty"),
        (CompressedImage(format="jpeg", data=b"\xff\xd8 no jpeg"), "cannot be decoded"),
        (CompressedImage(format="16UC1; compressedDepth png", data=b"x"), "a depth map"),
        (CompressedImage(format="32FC1; png compressed ", data=b"x"), "such as depth"),
    ],
)
def test_bad_messages_are_refused_with_the_reason(message: Any, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_message(message)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_compressed_images_are_refused(suffix: str) -> None:
    data = cv2.imencode(suffix, random_rgb(90, 120))[1].tobytes()
    for share in (0.1, 0.5, 0.9):
        message = CompressedImage(format="jpeg", data=data[: int(len(data) * share)])
        with pytest.raises(InputError, match="cannot be decoded"):
            decode_message(message)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    height=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    width=st.integers(0, 2**32 - 1) | st.integers(0, 9),
    step=st.integers(0, 2**32 - 1) | st.integers(0, 60),
    encoding=st.sampled_from([*SUPPORTED_ENCODINGS, "16UC1", "x"]),
    big_endian=st.booleans(),
    data=st.binary(max_size=400),
)
def test_any_message_is_decoded_or_refused(
    height: int, width: int, step: int, encoding: str, big_endian: bool, data: bytes
) -> None:
    message = Image(height=height, width=width, step=step, encoding=encoding, data=data)
    message.is_bigendian = int(big_endian)
    try:
        decoded = decode_message(message)
    except InputError:
        return
    assert decoded.shape == (height, width, 3)
    assert decoded.dtype == np.uint8


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(name=st.text(max_size=30), data=st.binary(max_size=200))
def test_any_compressed_message_is_decoded_or_refused(name: str, data: bytes) -> None:
    try:
        decoded = decode_message(CompressedImage(format=name, data=data))
    except InputError:
        return
    assert decoded.ndim == 3


@pytest.mark.parametrize(
    ("encoding", "dtype", "shape"),
    [
        ("mono8", np.uint8, (5, 7)),
        ("mono16", np.uint16, (5, 7)),
        ("rgb8", np.uint8, (5, 7, 3)),
        ("rgba8", np.uint8, (5, 7, 4)),
        ("32FC1", np.float32, (5, 7)),
        ("32FC3", np.float32, (5, 7, 3)),
    ],
)
def test_arrays_become_messages_of_the_same_values(
    encoding: str, dtype: Any, shape: tuple[int, ...]
) -> None:
    reference = pytest.importorskip("rosbags.image", reason="needs rosbags-image")
    values = (np.random.default_rng(1).random(shape) * 250).astype(dtype)
    header = Header(frame_id="camera")
    for array in (values, np.asfortranarray(values)):
        message = image_to_msg(array, encoding, header)
        assert (message.height, message.width) == shape[:2]
        assert message.step == len(message.data) // 5
        assert message.is_bigendian == (sys.byteorder == "big")
        assert message.header.frame_id == "camera"
        assert np.array_equal(reference.message_to_cvimage(message), values)


def test_array_that_does_not_fit_its_encoding_is_a_programming_error() -> None:
    for array, encoding in [
        (np.zeros((2, 2), np.float64), "32FC1"),
        (np.zeros((2, 2, 3), np.uint8), "mono8"),
        (np.zeros((2, 2), np.uint8), "rgb8"),
    ]:
        with pytest.raises(ValueError, match="does not hold"):
            image_to_msg(array, encoding, Header())


def test_decoding_a_packed_rgb_message_copies_nothing() -> None:
    message = build(random_rgb(8, 10), "rgb8")
    assert np.shares_memory(decode_message(message), np.frombuffer(message.data, np.uint8))
