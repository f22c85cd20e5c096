"""Bags as a killed recorder leaves them, compressed by rosbag2: without metadata, file by file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import zstandard
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import open_recording, open_recordings
from dino_foresight_ros.recordings.bag_messages import image, typestore

COUNT, START_NS, STEP_NS = 8, 1_700_000_000_000_000_000, 100_000_000
MCAP, SQLITE3 = StoragePlugin.MCAP, StoragePlugin.SQLITE3
FILE, MESSAGE, NONE = CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.NONE


def picture(index: int) -> np.ndarray:
    """(24, 32, 3) noise of its own for each index."""
    return np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)


def write(path: Path, storage: StoragePlugin, mode: CompressionMode, first: int = 0) -> Path:
    """A bag of `COUNT` pictures from the `first` on; its one storage file is returned."""
    writer = Writer(path, version=8, storage_plugin=storage)
    if mode is not NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        kind = "sensor_msgs/msg/Image"
        connection = writer.add_connection("/cam", kind, typestore=typestore())
        for index in range(first, first + COUNT):
            stamp_ns = START_NS + index * STEP_NS
            message = image(picture(index), stamp_ns, "optical")
            writer.write(connection, stamp_ns, typestore().serialize_cdr(message, kind))
    (path / "metadata.yaml").unlink()
    (file,) = path.iterdir()
    return file


def check(path: Path, count: int) -> list[str]:
    """Every frame is there and right, played and at random; return what was said."""
    with open_recording(path) as played:
        frames = list(played.frames())
        assert len(frames) == count
        assert all(np.array_equal(f.image, picture(f.index)) for f in frames)
        assert [f.stamp_ns for f in frames] == [START_NS + i * STEP_NS for i in range(count)]
    (recording,) = open_recordings([str(path)])
    assert len(recording) == count
    for index in (count - 1, 0, count // 2):
        assert np.array_equal(recording.read([index])[0].image, picture(index))
    return played.warnings


@pytest.mark.parametrize("storage", [MCAP, SQLITE3])
@pytest.mark.parametrize("mode", [FILE, MESSAGE])
def test_a_compressed_bag_without_metadata(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    file = write(tmp_path / "bag", storage, mode)
    assert (file.suffix == ".zstd") == (mode is FILE)
    reason = f"truncated: {COUNT} pictures could be read (metadata.yaml is missing)"
    assert check(tmp_path / "bag", COUNT) == [f"bag is {reason}"]


@pytest.mark.parametrize("storage", [MCAP, SQLITE3])
@pytest.mark.parametrize("mode", [FILE, MESSAGE])
def test_a_compressed_storage_file_alone(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    assert check(write(tmp_path / "bag", storage, mode), COUNT) == []


@pytest.mark.parametrize("suffix", [".zst", ".lz4"])
def test_other_compressions_of_a_file(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / "bag", MCAP, NONE)
    compress: Callable[[bytes], bytes] = (
        lz4.frame.compress if suffix == ".lz4" else zstandard.ZstdCompressor().compress
    )
    packed = tmp_path / f"{file.name}{suffix}"
    packed.write_bytes(compress(file.read_bytes()))
    assert check(packed, COUNT) == []


@pytest.mark.parametrize("storage", [MCAP, SQLITE3])
def test_splits_of_which_the_last_was_being_written(tmp_path: Path, storage: StoragePlugin) -> None:
    """The recorder compresses a file when the next one begins, and removes it after that."""
    bag = tmp_path / "bag"
    bag.mkdir()
    suffix = ".mcap" if storage is MCAP else ".db3"
    first = write(tmp_path / "first", storage, FILE)
    shutil.move(first, bag / f"bag_0{suffix}.zstd")
    second = write(tmp_path / "second", storage, NONE, COUNT)
    packed = zstandard.ZstdCompressor().compress(second.read_bytes())
    shutil.move(second, bag / f"bag_1{suffix}")
    (bag / f"bag_1{suffix}.zstd").write_bytes(packed[: len(packed) // 2])
    check(bag, 2 * COUNT)


@pytest.mark.parametrize("suffix", [".zstd", ".lz4"])
def test_a_compressed_file_that_is_cut_gives_what_is_there(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / "bag", MCAP, NONE)
    data = file.read_bytes()
    zstd = zstandard.ZstdCompressor()
    # In small parts, so that something can be unpacked.
    parts = [data[at : at + 2000] for at in range(0, len(data), 2000)]
    packed = (
        b"".join(map(zstd.compress, parts))
        if suffix == ".zstd"
        else lz4.frame.compress(data, block_linked=False, block_size=lz4.frame.BLOCKSIZE_MAX64KB)
    )
    path = tmp_path / f"cut.mcap{suffix}"
    path.write_bytes(packed)
    assert check(path, COUNT) == []
    if suffix == ".zstd":
        path.write_bytes(packed[: len(packed) * 2 // 3])
        with open_recording(path) as played:
            assert 2 <= len(list(played.frames())) < COUNT
        assert played.truncated
    path.write_bytes(packed[:100])
    with pytest.raises(InputError, match=r"cut\.mcap\.(zstd|lz4)"):
        open_recording(path)


def test_nothing_stays_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    file = write(tmp_path / "bag", SQLITE3, FILE)
    with open_recording(file) as played:
        assert os.listdir(scratch)
        next(played.frames())
    assert os.listdir(scratch) == []
    (recording,) = open_recordings([str(file)])
    recording.read([1])
    assert os.listdir(scratch) == []
