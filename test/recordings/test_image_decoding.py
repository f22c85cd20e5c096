"""Decoding of pictures, each encoding against one built by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dino_foresight_ros.recordings.image_decoding import (
    ImageDecodeError,
    decode_picture,
    decode_raw,
)

RED, GREEN, BLUE = 200, 120, 30


@pytest.fixture
def rgb() -> np.ndarray:
    """(4, 6, 3) uint8 noise."""
    return np.random.default_rng(3).integers(0, 256, (4, 6, 3), np.uint8)


def decode(array: np.ndarray, encoding: str, **changes: int) -> np.ndarray:
    height, width = array.shape[:2]
    fields = {"height": height, "width": width, "step": array[0].nbytes, **changes}
    return decode_raw(array.tobytes(), encoding=encoding, **fields)


@pytest.mark.parametrize(
    ("encoding", "channels"),
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
@pytest.mark.parametrize("bits", ["8", "16"])
def test_colour_encodings(rgb: np.ndarray, encoding: str, channels: list[int], bits: str) -> None:
    stored = rgb[..., channels]
    if bits == "16":
        stored = stored.astype("<u2") * 256 + 77
    assert np.array_equal(decode(stored, encoding.replace("8", bits)), rgb)


@pytest.mark.parametrize("is_bigendian", [0, 1])
def test_16_bit_grey_keeps_its_upper_byte(rgb: np.ndarray, is_bigendian: int) -> None:
    grey = (rgb[..., 0].astype(np.uint16) * 256 + 5).astype(">u2" if is_bigendian else "<u2")
    decoded = decode(grey, "mono16", is_bigendian=is_bigendian)
    assert np.array_equal(decoded, np.repeat(rgb[..., :1], 3, axis=2))


def test_8_bit_grey(rgb: np.ndarray) -> None:
    assert np.array_equal(decode(rgb[..., 1].copy(), "mono8"), np.repeat(rgb[..., 1:2], 3, axis=2))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns_give_the_colour_back(pattern: str, bits: int) -> None:
    values = {"r": RED, "g": GREEN, "b": BLUE}
    tile = np.array([values[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 4))
    stored = mosaic if bits == 8 else mosaic.astype("<u2") * 256
    decoded = decode(stored, f"bayer_{pattern}{bits}")
    assert np.abs(decoded.astype(int) - [RED, GREEN, BLUE]).max() <= 1


@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")],
)
def test_yuv_422_of_red(encoding: str, order: str) -> None:
    parts = {"y": [82, 82], "u": [90], "v": [240]}  # pure red by ITU-R BT.601
    pair = [parts[letter][order[:i].count(letter)] for i, letter in enumerate(order)]
    decoded = decode(np.array(pair * 2 * 4, np.uint8).reshape(4, 4, 2), encoding)
    assert np.abs(decoded.astype(int) - [255, 0, 0]).max() <= 3


def test_row_padding_is_left_out(rgb: np.ndarray) -> None:
    padded = np.full((4, 32), 99, np.uint8)
    padded[:, :18] = rgb.reshape(4, 18)
    data = padded.tobytes()
    assert np.array_equal(decode_raw(data, height=4, width=6, step=32, encoding="rgb8"), rgb)
    # Some drivers leave out the padding of the last row.
    cut = data[:-14]
    assert np.array_equal(decode_raw(cut, height=4, width=6, step=32, encoding="rgb8"), rgb)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 5}, "has 72 bytes, but 5 rows of 18 bytes make 90"),
        ({"width": 7}, "step is 18 bytes, but 7 pixels of rgb8 take 21"),
        ({"step": 10}, "step is 10 bytes"),
        ({"height": 0}, "empty .6x0."),
        ({"width": 0, "step": 0}, "empty .0x4."),
    ],
)
def test_sizes_that_do_not_fit_the_data_are_refused(
    rgb: np.ndarray, changes: dict[str, int], reason: str
) -> None:
    with pytest.raises(ImageDecodeError, match=reason):
        decode(rgb, "rgb8", **changes)


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("32FC1", "holds measurements"),
        ("16UC1", "holds measurements"),
        ("8UC3", "does not say what its channels mean"),
        ("", "is not set"),
    ],
)
def test_encodings_that_are_no_pictures_are_refused(
    rgb: np.ndarray, encoding: str, reason: str
) -> None:
    with pytest.raises(ImageDecodeError, match=f"{reason}.*; supported: bayer_"):
        decode(rgb, encoding)


def test_png_is_exact(rgb: np.ndarray) -> None:
    data = cv2.imencode(".png", rgb[..., ::-1].copy())[1].tobytes()
    assert np.array_equal(decode_picture(data), rgb)


def test_a_jpeg_with_a_thumbnail_that_is_cut_behind_it_is_noticed() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    thumbnail = cv2.imencode(".jpg", noise[:8, :8])[1].tobytes()
    length = (len(thumbnail) + 2).to_bytes(2, "big")
    with_thumbnail = data[:2] + b"\xff\xe1" + length + thumbnail + data[2:]
    assert decode_picture(with_thumbnail).shape == (64, 64, 3)
    with pytest.raises(ImageDecodeError, match="cut off"):
        decode_picture(with_thumbnail[:-200])
