"""Video in messages: from a key frame on, in order and at random, against the pictures coded."""

from __future__ import annotations

import pickle
import sys
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import open_recording, open_recordings
from dino_foresight_ros.recordings.bag_messages import header, make
from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.recordings.image_decoding import ImageDecodeError, ImageDecoder
from dino_foresight_ros.recordings.video_messages import is_key_frame, video_codec

COUNT, KEY_EVERY = 24, 8
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


def picture(index: int) -> np.ndarray:
    """(64, 96, 3) of one colour, which tells the index and survives coding."""
    return np.full((64, 96, 3), [20 + 9 * index, 230 - 9 * index, 128], np.uint8)


def is_picture(image: np.ndarray, index: int) -> bool:
    assert image.shape == (64, 96, 3)
    return bool(np.abs(image.astype(int) - picture(index)).mean() < 4)


@lru_cache
def packets(encoder: str, b_frames: int = 0) -> tuple[bytes, ...]:
    """One coded picture each, in the order in which they are decoded."""
    av = pytest.importorskip("av", reason="needs PyAV (the extra video)")
    if encoder not in av.codecs_available:
        pytest.skip(f"this PyAV has no {encoder}")
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = 96, 64, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
    context.gop_size = KEY_EVERY
    context.max_b_frames = b_frames
    tune = {"tune": "zerolatency"} if encoder in ("libx264", "libx265") and not b_frames else {}
    more = {"x265-params": "log-level=none"} if encoder == "libx265" else {}
    live = {"deadline": "realtime", "lag-in-frames": "0"} if encoder.startswith("libvpx") else {}
    tune |= {"sc_threshold": "0"} if encoder == "libx264" else {}
    context.options = {**tune, **more, **live}
    found = []
    for index in range(COUNT):
        frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24").reformat(
            format="yuv420p"
        )
        frame.pts = index
        found += context.encode(frame)
    found += context.encode(None)
    assert len(found) == COUNT
    return tuple(bytes(packet) for packet in found)


CODECS = [("h264", "libx264"), ("h265", "libx265"), ("vp9", "libvpx-vp9")]
FOXGLOVE = "foxglove_msgs/msg/CompressedVideo"
FFMPEG = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"


def write_bag(
    path: Path, coded: tuple[bytes, ...], name: str, kind: str = "", first: int = 0
) -> Path:
    """A bag of messages from the `first` on."""
    store = get_typestore(Stores.ROS2_JAZZY)
    definitions = {
        FOXGLOVE: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format",
        FFMPEG: "std_msgs/Header header\nint32 width\nint32 height\nstring encoding\nuint64 pts\n"
        "uint8 flags\nbool is_bigendian\nuint8[] data",
    }
    if kind:
        store.register(get_types_from_msg(definitions[kind], kind))
    with create_bag(path) as writer:
        raw: Any = writer.writer
        connection = raw.add_connection("/cam", kind, typestore=store) if kind else None
        for index in range(first, COUNT):
            stamp_ns, data = START_NS + index * STEP_NS, np.frombuffer(coded[index], np.uint8)
            head = header(stamp_ns, "optical")
            if kind == FOXGLOVE:
                message = store.types[kind](head.stamp, head.frame_id, data, name)
            elif kind == FFMPEG:
                message = store.types[kind](head, 96, 64, name, index, 0, False, data)
            else:
                message = make(
                    "sensor_msgs/msg/CompressedImage", header=head, format=name, data=data
                )
                writer.write("/cam", message.__msgtype__, stamp_ns, message)
                continue
            raw.write(connection, stamp_ns, store.serialize_cdr(message, kind))
    return path


@pytest.mark.parametrize(
    ("name", "encoder", "kind"),
    [
        *((name, encoder, "") for name, encoder in CODECS),
        *((name, encoder, FOXGLOVE) for name, encoder in CODECS),
        ("libx264", "libx264", FFMPEG),
        ("hevc;yuv420p;bgr8;bgr8", "libx265", FFMPEG),
    ],
)
def test_video_in_a_bag_is_read_in_order_and_at_random(
    tmp_path: Path, name: str, encoder: str, kind: str
) -> None:
    bag = write_bag(tmp_path / "bag", packets(encoder), name, kind)
    with open_recording(bag) as played:
        frames = list(played.frames())
        assert played.warnings == []
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [frame.stamp_ns for frame in frames] == [START_NS + i * STEP_NS for i in range(COUNT)]
    assert all(is_picture(frame.image, frame.index) for frame in frames)
    (recording,) = open_recordings([str(bag)])
    worker = pickle.loads(pickle.dumps(recording))
    for index in (COUNT - 1, 0, 13, 14, 9):
        assert np.array_equal(recording.read([index])[0].image, frames[index].image)
        assert np.array_equal(worker.read([index])[0].image, frames[index].image)


def test_messages_before_the_first_key_frame_are_left_out(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", packets("libx264"), "h264", first=3)
    with open_recording(bag) as played:
        frames = list(played.frames())
        assert all(is_picture(frame.image, frame.index + 3) for frame in frames)
        assert len(frames) == COUNT - KEY_EVERY
        assert played.warnings == ["bag: 5 messages of video gave no picture"]
    said: list[str] = []
    (recording,) = open_recordings([str(bag)], said.append)
    assert said == ["bag: 5 messages before the first key frame left out"]
    assert len(recording) == COUNT - KEY_EVERY
    for index in (7, 0):
        assert is_picture(recording.read([index])[0].image, index + KEY_EVERY)


def test_pictures_that_the_decoder_holds_back_come_with_their_own_stamps(tmp_path: Path) -> None:
    """Two B frames: messages lie in decoding order, pictures come later."""
    bag = write_bag(tmp_path / "bag", packets("libx264", 2), "h264")
    with open_recording(bag) as played:
        frames = list(played.frames())
    assert len(frames) == COUNT
    assert sorted(frame.index for frame in frames) == list(range(COUNT))
    (recording,) = open_recordings([str(bag)])
    by_index = {frame.index: frame.image for frame in frames}
    for index in (20, 2, COUNT - 1):
        assert np.array_equal(recording.read([index])[0].image, by_index[index])


@pytest.mark.parametrize(("name", "encoder"), CODECS)
def test_a_live_stream_is_decoded_from_a_key_frame_on_message_by_message(
    name: str, encoder: str
) -> None:
    decoder = ImageDecoder()
    taken = []
    for coded in packets(encoder)[3:]:
        data = np.frombuffer(coded, np.uint8)
        taken.append(decoder.take(SimpleNamespace(format=name, data=data)))
    for index, decode in reversed(list(enumerate(taken, 3))):
        if index < KEY_EVERY:
            with pytest.raises(
                ImageDecodeError, match=f"{name} video: no picture before the first"
            ):
                decode()
        else:
            assert is_picture(decode(), index)


def test_b_frames_of_a_live_stream_are_named() -> None:
    decoder, reasons = ImageDecoder(), set()
    for coded in packets("libx264", 2):
        try:
            decoder.decode(SimpleNamespace(format="h264", data=coded))
        except ImageDecodeError as error:
            reasons.add(str(error))
    assert any("have the encoder make no B frames" in reason for reason in reasons)


def test_a_damaged_message_costs_its_pictures_and_no_more() -> None:
    decoder, coded = ImageDecoder(), list(packets("libx264"))
    coded[4] = b"\x00\x00\x00\x01" + bytes(range(200))
    right = set()
    for index, data in enumerate(coded):
        try:
            if is_picture(decoder.decode(SimpleNamespace(format="h264", data=data)), index):
                right.add(index)
        except ImageDecodeError:
            assert index < 2 * KEY_EVERY
    assert right >= {*range(4), *range(KEY_EVERY, COUNT)}


@pytest.mark.parametrize(("name", "encoder"), CODECS)
def test_key_frames_are_told_as_the_encoder_placed_them(name: str, encoder: str) -> None:
    codec = video_codec(name)
    assert codec is not None
    keys = [i for i, coded in enumerate(packets(encoder)) if is_key_frame(codec, coded)]
    assert keys == list(range(0, COUNT, KEY_EVERY))


def test_without_pyav_one_line_says_what_it_is_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", (b"\0\0\0\1\x65",) * COUNT, "h264")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError) as caught:
        open_recording(bag)
    assert str(caught.value) == (
        "bag: no picture can be read from /cam: h264 video in messages is decoded by PyAV, which "
        "is not installed: pip install av; or republish it as raw or JPEG images"
    )


@pytest.mark.parametrize("name", ["jpeg", "png", "rgb8; jpeg compressed bgr8", "", "webp"])
def test_pictures_are_no_video(name: str) -> None:
    assert video_codec(name) is None
