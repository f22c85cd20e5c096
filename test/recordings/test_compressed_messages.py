"""Compressed messages as image_transport names them, and files with more behind their end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.recordings.image_decoding import (
    ImageDecodeError,
    ImageDecoder,
    decode_message,
)

SIZE = (48, 64)


def smooth_rgb() -> np.ndarray:
    """(48, 64, 3) without fine detail, which demosaicing hardly changes."""
    x, y = np.linspace(0, 1, SIZE[1])[None, :], np.linspace(0, 1, SIZE[0])[:, None]
    planes = [40 + 160 * x + 0 * y, 200 - 120 * y + 0 * x, 90 + 60 * x * y]
    return np.stack(planes, axis=2).astype(np.uint8)


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor behind a colour filter sees; `pattern` is its top left 2x2, row by row."""
    raw = np.empty(rgb.shape[:2], rgb.dtype)
    for index, colour in enumerate(pattern):
        row, column = divmod(index, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, "rgb".index(colour)]
    return raw


def message(name: str, pixels: np.ndarray, suffix: str) -> Any:
    """A compressed message of pixels as OpenCV keeps them (colours as BGR)."""
    data = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    return SimpleNamespace(format=name, data=data.reshape(-1))


def off_by(decoded: np.ndarray, rgb: np.ndarray) -> int:
    """The largest difference, two pixels from the border on."""
    assert decoded.shape == rgb.shape
    return int(np.abs(decoded.astype(int) - rgb)[2:-2, 2:-2].max())


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(
    ("bits", "file", "suffix"),
    [(8, "jpeg", ".jpg"), (8, "png", ".png"), (8, "tiff", ".tiff"), (16, "png", ".png")],
)
@pytest.mark.parametrize("space", ["", " "])
def test_a_compressed_mosaic_gives_the_colours_back(
    pattern: str, bits: int, file: str, suffix: str, space: str
) -> None:
    """As ROS 1 writes JPEG, and PNG and TIFF are written to this day: nothing was converted."""
    rgb = smooth_rgb()
    stored = mosaic(rgb, pattern) if bits == 8 else mosaic(rgb, pattern).astype(np.uint16) * 256
    name = f"bayer_{pattern}{bits}; {file} compressed{space}"
    assert off_by(decode_message(message(name, stored, suffix)), rgb) <= (6 if bits == 8 else 4)


def test_a_mosaic_that_was_converted_before_is_not_converted_again() -> None:
    rgb = smooth_rgb()
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    for name in ("bayer_rggb8; jpeg compressed bgr8", "bayer_rggb8; jpeg compressed"):
        assert off_by(decode_message(message(name, bgr, ".jpg")), rgb) <= 6
    # ROS 2 converts to grey.
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    decoded = decode_message(message("bayer_rggb8; jpeg compressed mono8", grey, ".jpg"))
    assert off_by(decoded, np.repeat(grey[..., None], 3, axis=2)) <= 2


def test_a_mosaic_in_a_jpeg_of_three_equal_channels_is_one() -> None:
    rgb = smooth_rgb()
    grey = cv2.cvtColor(mosaic(rgb, "rggb"), cv2.COLOR_GRAY2BGR)
    assert off_by(decode_message(message("bayer_rggb8; jpeg compressed", grey, ".jpg")), rgb) <= 6


@pytest.mark.parametrize(
    "name",
    [
        "8UC3; jpeg compressed bgr8",
        "8UC3; jpeg compressed",
        "yuv422_yuy2; jpeg compressed bgr8",
        "nv24; jpeg compressed bgr8",
        "jpg",
        "jpeg",
        "rgb8;jpeg compressed bgr8",
    ],
)
def test_the_file_says_what_the_pixels_are_whatever_they_were_before(name: str) -> None:
    rgb = smooth_rgb()
    assert off_by(decode_message(message(name, rgb[..., ::-1], ".jpg")), rgb) <= 6


def test_tiff_holds_the_raw_memory() -> None:
    """compressed_image_transport gives rgb8 to an encoder that takes it for BGR."""
    rgb = smooth_rgb()
    for raw, memory in (("rgb8", rgb), ("bgr8", rgb[..., ::-1]), ("rgb16", rgb)):
        stored = memory.astype(np.uint16) * 256 + 3 if raw == "rgb16" else memory
        decoded = decode_message(message(f"{raw}; tiff compressed ", stored, ".tiff"))
        assert np.array_equal(decoded, rgb), raw


@pytest.mark.parametrize("raw", ["16UC1", "32FC1", "16SC1"])
def test_measurements_are_refused(raw: str) -> None:
    with pytest.raises(ImageDecodeError, match="holds measurements"):
        decode_message(message(f"{raw}; png compressed ", np.ones(SIZE, np.uint16), ".png"))


def test_floats_are_refused() -> None:
    with pytest.raises(ImageDecodeError, match="float32 values, not a camera picture"):
        decode_message(message("tiff", np.ones((*SIZE, 3), np.float32), ".tiff"))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("rubbish", [0x00, 0xA5, 0xFF])
def test_what_follows_the_end_of_a_picture_is_no_fault(
    suffix: str, progressive: int, rubbish: int
) -> None:
    """Drivers send their whole buffer, which is many times as long as some pictures."""
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive] if suffix == ".jpg" else []
    data = cv2.imencode(suffix, noise, options)[1].tobytes()
    alone = decode_message(SimpleNamespace(format="", data=data))
    for length in (1, 100, 5 * len(data)):
        padded = data + bytes([rubbish]) * length
        assert np.array_equal(decode_message(SimpleNamespace(format="", data=padded)), alone)
    for share in (0.3, 0.9):
        cut = data[: int(share * len(data))] + bytes(3 * len(data))
        with pytest.raises(ImageDecodeError, match="cut off before its end"):
            decode_message(SimpleNamespace(format="", data=cut))


def test_16_bit_png_of_a_stream_goes_by_the_bits_that_the_stream_uses() -> None:
    decoder = ImageDecoder()
    rgb = smooth_rgb()
    deep = np.ascontiguousarray(rgb[..., ::-1]).astype(np.uint16) * 16 + 9
    for name in ("rgb16; png compressed bgr16", "png"):
        assert np.array_equal(decoder.decode(message(name, deep, ".png")), rgb)
    assert decoder.bit_depth.bits == 12
