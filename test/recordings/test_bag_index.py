"""Bags: topics, clocks, storages, and files that were cut off."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import UnreadableFrame, open_recording, open_recordings
from dino_foresight_ros.recordings.bag_messages import typestore

STEP = 100_000_000
T0 = 1_700_000_000_000_000_000
TYPE = "sensor_msgs/msg/Image"


def test_every_image_topic_is_a_recording(make_bag: Callable[..., Path]) -> None:
    messages = [(t, i, T0 + i * STEP) for i in range(6) for t in ("/left/image", "/right/image")]
    path = make_bag("two", messages)
    found = open_recordings([str(path)])
    assert [recording.name for recording in found] == ["two.left.image", "two.right.image"]
    (one,) = open_recordings([f"bag:{path}?topic=/right/image"])
    assert one.name == "two.right.image"
    assert len(one) == 6
    with pytest.raises(InputError, match=r"no image topic /up; choose one of: /left/image"):
        open_recordings([f"bag:{path}?topic=/up"])


def test_messages_out_of_order_doubled_and_a_clock_that_is_set_back(
    make_bag: Callable[..., Path], world_frames: list
) -> None:
    stamps = [0, 1, 3, 2, 2, 4, 0, 1, 2]  # number 3 and 2 swapped, 2 twice, then a second run
    times = [T0 + s * STEP if i < 6 else T0 - 10**13 + s * STEP for i, s in enumerate(stamps)]
    path = _bag_with_log_times(make_bag, times, world_frames)
    warnings: list[str] = []
    found = open_recordings([str(path)], warnings.append)
    assert [len(recording) for recording in found] == [5, 3]
    assert [recording.name for recording in found] == ["odd", "odd.run2"]
    order = [0, 1, 3, 2, 5]
    for frame, number in zip(found[0].read(range(5)), order, strict=True):
        assert np.array_equal(frame.image, world_frames[number].image)
    assert np.array_equal(found[1].read([2])[0].image, world_frames[8].image)
    assert any("goes back 1 times; read as 2 runs" in text for text in warnings)
    assert any("1 pictures with the stamp of another left out" in text for text in warnings)


def _message(number: int, stamp_ns: int, frames: list) -> bytes:
    types = typestore().types
    sec, nanosec = divmod(stamp_ns, 10**9)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    image = frames[number % len(frames)].image
    message = types[TYPE](
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="c"),
        height=image.shape[0], width=image.shape[1], encoding="rgb8", is_bigendian=0,
        step=image.shape[1] * 3, data=np.ascontiguousarray(image).reshape(-1),
    )  # fmt: skip
    return bytes(typestore().serialize_cdr(message, TYPE))


def _bag_with_log_times(make_bag: Callable, stamps: list[int], frames: list) -> Path:
    path = make_bag("other").parent / "odd"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/cam", TYPE, typestore=typestore())
        for number, stamp_ns in enumerate(stamps):
            data = _message(number, stamp_ns, frames)
            writer.write(connection, T0 + number * STEP, data)
    return path


@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        (storage, mode)
        for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3)
        for mode in CompressionMode
        if (storage, mode) != (StoragePlugin.SQLITE3, CompressionMode.STORAGE)
    ],
)
def test_every_way_of_storing_gives_the_same_frames(
    storage: StoragePlugin, mode: CompressionMode, tmp_path: Path, world_frames: list
) -> None:
    path = tmp_path / "bag"
    writer = Writer(path, version=8, storage_plugin=storage)
    if mode != CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/cam", TYPE, typestore=typestore())
        for number in range(12):
            # Two messages share each time of recording, as bursts do.
            data = _message(number, T0 + number * STEP, world_frames)
            writer.write(connection, T0 + number // 2 * STEP, data)
    (recording,) = open_recordings([str(path)])
    assert (np.diff(recording.stamps_ns) == STEP).all()
    for index in (11, 0, 7, 6):
        image = recording.read([index])[0].image
        assert np.array_equal(image, world_frames[index].image)


def test_mcap_without_chunks_and_with_a_cut_off_end(
    make_bag: Callable[..., Path], world_frames: list, tmp_path: Path
) -> None:
    whole = make_bag("whole")
    (source,) = whole.glob("*.mcap")
    content = _unchunked(source.read_bytes())
    for name, data, count in (
        ("unchunked", content, 12),
        ("cut", content[: len(content) // 2], 5),
        ("cut-chunks", source.read_bytes()[: source.stat().st_size // 2], 5),
    ):
        path = tmp_path / f"{name}.mcap"
        path.write_bytes(data)
        warnings: list[str] = []
        (recording,) = open_recordings([str(path)], warnings.append)
        assert len(recording) >= count, name
        reference = [frame.image for frame in open_recording(path).frames()]
        assert len(reference) == len(recording)
        for index in (len(recording) - 1, 0, 2):
            assert np.array_equal(recording.read([index])[0].image, reference[index])
        assert any("truncated" in text for text in warnings) == (name != "unchunked"), name


def _unchunked(data: bytes) -> bytes:
    """Write the records of all chunks one after another, as `fastwrite` recording does."""
    out, position = [data[:8]], 8
    while position + 9 <= len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, position)
        body = data[position + 9 : position + 9 + length]
        if opcode == 0x06:
            (name,) = struct.unpack_from("<I", body, 28)
            out.append(body[32 + name + 8 :])
        elif opcode in (0x01, 0x03, 0x04, 0x0F):
            out.append(data[position : position + 9 + length])
        position += 9 + length
        if opcode == 0x0F:
            break
    out.append(struct.pack("<BQQQI", 0x02, 20, 0, 0, 0) + data[:8])
    return b"".join(out)


def test_the_checksum_of_a_chunk_is_checked(
    make_bag: Callable[..., Path], world_frames: list
) -> None:
    (file,) = make_bag("sums").glob("*.mcap")
    data = bytearray(file.read_bytes())
    position = 8
    while position < len(data) - 8:
        opcode, length = struct.unpack_from("<BQ", data, position)
        if opcode == 0x06:
            (name,) = struct.unpack_from("<I", data, position + 9 + 28)
            records = data[position + 9 + 32 + name + 8 : position + 9 + length]
            struct.pack_into("<I", data, position + 9 + 24, zlib.crc32(records))
        position += 9 + length
    file.write_bytes(data)
    (recording,) = open_recordings([str(file)])
    for index in (11, 0, 5):
        image = recording.read([index])[0].image
        assert np.array_equal(image, world_frames[index].image)
    pixels = world_frames[5].image.tobytes()
    data[data.find(pixels) + 100] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(UnreadableFrame, match=r"frame 5 .* does not match its checksum"):
        pickle.loads(pickle.dumps(recording)).read([5])  # opened before the damage
    with pytest.raises(InputError, match="does not match its checksum"):
        open_recordings([str(file)])  # all pictures lie in that one chunk


def test_a_cut_off_database_gives_what_is_there(make_bag: Callable[..., Path]) -> None:
    path = make_bag("db", storage="sqlite3")
    (file,) = path.glob("*.db3")
    os.truncate(file, file.stat().st_size // 2)
    warnings: list[str] = []
    (recording,) = open_recordings([str(path)], warnings.append)
    assert 2 <= len(recording) < 12
    assert any("db is truncated" in text and "of 12 pictures" in text for text in warnings)
    reference = [frame.image for frame in open_recording(path).frames()]
    assert np.array_equal(recording.read([len(recording) - 1])[0].image, reference[-1])


def test_a_damaged_message_is_named(make_bag: Callable[..., Path]) -> None:
    path = make_bag("png", compressed=True)
    (file,) = path.glob("*.mcap")
    data = bytearray(file.read_bytes())
    place = data.find(b"\x89PNG", data.find(b"\x89PNG") + 4)  # the second picture
    data[place : place + 2000] = bytes(2000)
    file.write_bytes(data)
    (recording,) = open_recordings([str(path)])
    assert recording.read([0])[0].image.shape == (48, 80, 3)
    with pytest.raises(UnreadableFrame, match=r"png /camera/image_raw: frame 1 cannot be read"):
        recording.read([1])


def test_a_depth_topic_beside_the_pictures_is_left_out(tmp_path: Path, world_frames: list) -> None:
    types = typestore().types
    path = tmp_path / "rgbd"
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        color = writer.add_connection("/color", TYPE, typestore=typestore())
        depth = writer.add_connection("/depth", TYPE, typestore=typestore())
        for number in range(3):
            stamp_ns = T0 + number * STEP
            writer.write(color, stamp_ns, _message(number, stamp_ns, world_frames))
            like = typestore().deserialize_cdr(_message(0, stamp_ns, world_frames), TYPE)
            message = types[TYPE](
                header=like.header,
                height=4, width=4, encoding="32FC1", is_bigendian=0, step=16,
                data=np.zeros(64, np.uint8),
            )  # fmt: skip
            writer.write(depth, stamp_ns, typestore().serialize_cdr(message, TYPE))
    warnings: list[str] = []
    (recording,) = open_recordings([str(path)], warnings.append)
    assert recording.name == "rgbd.color"
    assert any("/depth" in text and "32FC1" in text for text in warnings)
    with pytest.raises(InputError, match="/depth"):
        open_recordings([f"{path}?topic=/depth"])
