"""The bit depth of 16-bit pictures: from samples, messages, folders and bags."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_foresight_ros.recordings import Recording, open_recording, open_recordings
from dino_foresight_ros.recordings.bag_messages import compressed_image, header, make
from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.recordings.bit_depth import BitDepth, bits_used
from dino_foresight_ros.recordings.image_decoding import ImageDecoder

COUNT, START_NS = 40, 1_700_000_000_000_000_000
BRIGHT = 21
"""The frame that uses all the bits; the others use two less."""


def samples(index: int, bits: int) -> np.ndarray:
    """(24, 32) uint16: an 8-bit noise picture in the upper bits of a sensor's samples."""
    noise = np.random.default_rng(index).integers(0, 256, (24, 32), np.uint16)
    noise[0, 0] = 255
    below = np.uint16((1 << (bits - 8)) - 1)
    deep = noise << (bits - 8) | below
    return deep if index == BRIGHT else deep >> 2


def picture(index: int) -> np.ndarray:
    """The 8 bits of it that are to be seen."""
    seen = samples(index, 16) >> 8
    return np.repeat(seen.astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        ([0, 0], 0),
        ([255], 8),
        ([256, 1], 10),
        ([1023, 7], 10),
        ([1024, 7], 12),
        ([4095], 12),
        ([4097], 14),
        ([16385], 16),
        ([65535], 16),
        # 12 bits that a driver shifted up to fill 16; a dark picture of that kind looks like fewer.
        ([0xFFF0, 0x0010], 16),
        ([0x4010], 16),
        ([0x1010], 14),
        # 8 and 10 bits that somebody shifted up by 4.
        ([0xFF << 4, 1 << 4], 12),
        ([1023 << 4, 1 << 4], 14),
    ],
)
def test_bits_that_samples_use(values: list[int], bits: int) -> None:
    assert bits_used(np.array(values, np.uint16)) == bits


@settings(deadline=None)
@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=30))
def test_no_sample_is_beyond_the_bits(values: list[int]) -> None:
    bits = bits_used(np.array(values, np.uint16))
    assert not bits or max(values) < 1 << bits


def test_a_stream_keeps_its_depth_and_says_so_once() -> None:
    said: list[str] = []
    depth = BitDepth(said.append)
    for values, bits in (([0], 0), ([900], 10), ([3000], 12), ([100], 12), ([4095], 12)):
        reduced = depth.to_8_bits(np.array(values, np.uint16))
        assert depth.bits == bits
        assert reduced[0] == values[0] >> ((bits or 16) - 8)
    assert said == [
        "16-bit samples are taken as 10 bits, the most in use so far",
        "16-bit samples are taken as 12 bits, the most in use so far, no longer as 10",
    ]


def test_samples_beyond_a_fixed_depth_are_white() -> None:
    said: list[str] = []
    depth = BitDepth(said.append, find=lambda: 10)
    assert depth.to_8_bits(np.array([512, 5000], np.uint16)).tolist() == [128, 255]
    assert depth.to_8_bits(np.array([2000], np.uint16)).tolist() == [255]
    assert said[1:] == ["a 16-bit picture uses 14 bits; it is white beyond 10"]


def raw(pixels: np.ndarray, encoding: str, big_endian: bool = False) -> Any:
    """A sensor_msgs/Image as rosbags has it."""
    height, width = pixels.shape[:2]
    stored = pixels.astype(">u2" if big_endian else "<u2")
    return make(
        "sensor_msgs/msg/Image",
        header=header(START_NS, "camera"),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=stored[0].nbytes,
        data=np.frombuffer(stored.tobytes(), np.uint8),
    )


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("big_endian", [False, True])
def test_raw_grey_and_colour_of_any_depth(bits: int, big_endian: bool) -> None:
    deep, seen = samples(BRIGHT, bits), picture(BRIGHT)
    grey = ImageDecoder().decode(raw(deep, "mono16", big_endian))
    assert np.array_equal(grey, seen)
    colour = np.dstack((deep, deep // 2, deep // 4))
    decoded = ImageDecoder().decode(raw(colour, "rgb16", big_endian))
    assert np.array_equal(decoded, colour >> (bits - 8))


@pytest.mark.parametrize("bits", [10, 12])
def test_a_deep_mosaic_gives_the_colour_back(bits: int) -> None:
    tile = np.array([[200, 120], [120, 30]], np.uint16) << (bits - 8) | 1
    decoded = ImageDecoder().decode(raw(np.tile(tile, (8, 8)), "bayer_rggb16"))
    assert np.abs(decoded.astype(int) - [200, 120, 30]).max() <= 1


def write_folder(path: Path, bits: int) -> Path:
    path.mkdir()
    for index in range(COUNT):
        cv2.imwrite(str(path / f"{index:03d}.png"), samples(index, bits))
    return path


def write_bag(path: Path, bits: int, compressed: bool) -> Path:
    topic = "/cam/image_raw/compressed" if compressed else "/cam/image_raw"
    with create_bag(path) as writer:
        for index in range(COUNT):
            stamp_ns = START_NS + index * 100_000_000
            if compressed:
                data = cv2.imencode(".png", samples(index, bits))[1].reshape(-1)
                message = compressed_image(data, "png", stamp_ns, "camera")
            else:
                message = raw(samples(index, bits), "mono16")
                message.header = header(stamp_ns, "camera")
            writer.write(topic, message.__msgtype__, stamp_ns, message)
    return path


def right(recording: Recording, index: int) -> bool:
    return np.array_equal(recording.read([index])[0].image, picture(index))


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("kind", ["folder", "raw", "compressed"])
def test_pixels_of_a_recording_do_not_depend_on_what_was_read_before(
    tmp_path: Path, bits: int, kind: str
) -> None:
    path = tmp_path / "recorded"
    if kind == "folder":
        write_folder(path, bits)
    else:
        write_bag(path, bits, kind == "compressed")
    said: list[str] = []
    (recording,) = open_recordings([str(path)], said.append)
    # Of 16 pictures that are looked at, which are even apart, one is bright.
    assert BRIGHT in np.linspace(0, COUNT - 1, 16).round()
    worker = pickle.loads(pickle.dumps(recording))
    assert right(recording, 3)
    assert right(worker, BRIGHT)
    assert right(worker, 3)
    assert [line for line in said if "bits" in line] == [
        f"{recording.name}: 16-bit samples are taken as {bits} bits, the most in use so far"
    ]


def test_a_folder_that_is_played_has_its_depth_from_the_beginning(tmp_path: Path) -> None:
    with open_recording(write_folder(tmp_path / "f", 12), frame_rate_hz=10.0) as recording:
        frames = list(recording.frames())
        assert all(np.array_equal(f.image, picture(f.index)) for f in frames)
        assert len(frames) == COUNT
        assert len(recording.warnings) == 1


def test_a_bag_that_is_played_finds_its_depth_on_the_way(tmp_path: Path) -> None:
    with open_recording(write_bag(tmp_path / "bag", 12, False)) as recording:
        frames = list(recording.frames())
    assert all(np.array_equal(f.image, picture(f.index)) for f in frames[BRIGHT:])
    assert frames[0].image.max() == 255  # taken as 10 bits, which is not dark
    assert [line.split(": ", 1)[1] for line in recording.warnings] == [
        "16-bit samples are taken as 10 bits, the most in use so far",
        "16-bit samples are taken as 12 bits, the most in use so far, no longer as 10",
    ]
