"""Video files."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import open_recording

MakeVideo = Callable[..., Path]
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def index_of(image: np.ndarray) -> int:
    """Read back what conftest.numbered_frame wrote, in spite of lossy compression."""
    red, green, blue = image.reshape(-1, 3).mean(axis=0)
    assert blue < 12
    return round((red - 20) / 24) + 10 * round((green - 20) / 60)


def boxes(data: bytes, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """List (kind, start, end) of the boxes of a mp4 file, those inside of others too."""
    found = []
    while start < end:
        length, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        found.append((kind, start, start + length))
        if kind in _PARENTS:
            found += boxes(data, start + header, start + length)
        start += length
    return found


def sample_times_ns(path: Path) -> list[int]:
    """Compute the presentation times of the video track from stts, ctts and mdhd."""
    data = path.read_bytes()
    tracks = [
        {kind: inner for kind, inner, _ in boxes(data, start + 8, end)}
        for box, start, end in boxes(data, 0, len(data))
        if box == b"trak"
    ]
    where = next(track for track in tracks if b"vmhd" in track)
    version = data[where[b"mdhd"] + 8]
    (timescale,) = struct.unpack_from(">I", data, where[b"mdhd"] + (28 if version else 20))
    deltas = _run_lengths(data, where[b"stts"])
    times = np.concatenate(([0], np.cumsum(deltas)[:-1]))
    if b"ctts" in where:
        times = times + np.array(_run_lengths(data, where[b"ctts"]))
    times = np.sort(times) - np.min(times)
    return [round(int(time) * 1_000_000_000 / timescale) for time in times]


def _run_lengths(data: bytes, box: int) -> list[int]:
    (entries,) = struct.unpack_from(">I", data, box + 12)
    values = []
    for entry in range(entries):
        count, value = struct.unpack_from(">Ii", data, box + 16 + 8 * entry)
        values += [value] * count
    return values


def with_frame_durations(path: Path, durations: list[int]) -> None:
    """Rewrite stts: the n-th frame lasts durations[n] ticks of the track's own clock.

    The index stands behind the media data in this file, so nothing else has to move.
    """
    data = path.read_bytes()
    every = boxes(data, 0, len(data))
    start, end = next((s, e) for kind, s, e in every if kind == b"stts")
    runs = b"".join(struct.pack(">II", 1, duration) for duration in durations)
    stts = struct.pack(">I4sII", 16 + len(runs), b"stts", 0, len(durations)) + runs
    changed = bytearray(data)
    changed[start:end] = stts
    for kind, parent, parent_end in every:
        if kind in _PARENTS and parent < start < parent_end:
            struct.pack_into(">I", changed, parent, parent_end - parent + len(stts) - (end - start))
    path.write_bytes(changed)


def test_frames_come_in_order_as_rgb(make_video: MakeVideo) -> None:
    with open_recording(make_video(count=30)) as source:
        frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(30))
    assert [index_of(frame.image) for frame in frames] == list(range(30))
    image = frames[5].image
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8


def test_attributes_describe_the_video(make_video: MakeVideo) -> None:
    source = open_recording(make_video(count=30, rate_hz=12.5))
    assert (source.kind, source.name) == ("video", "clip.mp4")
    assert source.frame_count == 30
    assert source.frame_rate_hz == pytest.approx(12.5)
    assert source.size == (48, 64)
    assert source.camera is None
    assert not source.has_absolute_stamps
    assert not source.truncated


@pytest.mark.parametrize("rate_hz", [12.5, 25.0, 30000 / 1001])
def test_stamps_are_the_sample_times_of_the_container(
    make_video: MakeVideo, rate_hz: float
) -> None:
    path = make_video(count=20, rate_hz=rate_hz)
    stamps = [frame.stamp_ns for frame in open_recording(path).frames()]
    assert np.abs(np.array(stamps) - sample_times_ns(path)).max() <= 1
    assert stamps[-1] == pytest.approx(19 / rate_hz * 1e9, rel=1e-4)


def test_stamps_follow_a_variable_frame_rate(make_video: MakeVideo) -> None:
    path = make_video(count=20)
    data = path.read_bytes()
    stts = next(start for kind, start, _ in boxes(data, 0, len(data)) if kind == b"stts")
    tick = _run_lengths(data, stts)[0] // 4
    # In quarters of 40 ms. The sum is that of equal frames, as the file's edit list says.
    quarters = [1, 6, 2, 3, 8] * 4
    with_frame_durations(path, [tick * quarter for quarter in quarters])
    stamps = [frame.stamp_ns for frame in open_recording(path).frames()]
    expected = np.concatenate(([0], np.cumsum(quarters)[:-1])) * 10_000_000
    assert np.abs(np.array(stamps) - expected).max() <= 1


def test_a_stream_without_frame_count_is_read_to_its_end(tmp_path: Path) -> None:
    pictures = [cv2.imencode(".jpg", np.full((48, 64, 3), 8 * i, np.uint8))[1] for i in range(12)]
    path = tmp_path / "stream.mjpeg"
    path.write_bytes(b"".join(picture.tobytes() for picture in pictures))
    source = open_recording(path)
    assert source.frame_count is None
    frames = list(source.frames())
    assert [frame.stamp_ns for frame in frames] == [i * 40_000_000 for i in range(12)]
    assert not source.truncated


def test_window_counts_seconds_from_the_beginning(make_video: MakeVideo) -> None:
    source = open_recording(make_video(count=30), start_s=0.2, end_s=0.6)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(5, 15))
    assert frames[0].stamp_ns == 200_000_000
    assert source.frame_count == 10
    assert not source.truncated


def test_every_iteration_starts_at_the_beginning(make_video: MakeVideo) -> None:
    with open_recording(make_video(count=8)) as source:
        first = [(f.stamp_ns, f.image.tobytes()) for f in source.frames()]
        assert [(f.stamp_ns, f.image.tobytes()) for f in source.frames()] == first


def test_window_behind_the_end_is_an_error(make_video: MakeVideo) -> None:
    with pytest.raises(InputError, match=r"clip\.mp4: no frame from 60 s to its end"):
        list(open_recording(make_video(), start_s=60.0).frames())


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, None), (2.0, 2.0), (3.0, 1.0)])
def test_senseless_window_is_a_usage_error(
    make_video: MakeVideo, start_s: float, end_s: float | None
) -> None:
    with pytest.raises(UsageError, match=r"start|end"):
        open_recording(make_video(count=2), start_s=start_s, end_s=end_s)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.mp4 does not exist"):
        open_recording(tmp_path / "nothing.mp4")


@pytest.mark.parametrize("content", [b"hello world\n" * 50, bytes(range(256)) * 40])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt"])
def test_file_that_is_not_a_video_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a video"):
        open_recording(path)


def test_damaged_files_cause_no_output_of_opencv(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(200))
    with pytest.raises(InputError):
        open_recording(path)
    assert capfd.readouterr() == ("", "")


def test_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(InputError, match=r"empty\.mp4 is empty"):
        open_recording(path)


def test_single_picture_is_refused_with_advice(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="single picture; give a folder"):
        open_recording(make_folder(["a.png"]) / "a.png")


def test_video_cut_before_its_index_is_called_cut_off(make_video: MakeVideo) -> None:
    path = make_video()
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 20])
    with pytest.raises(InputError, match=r"cut off.*index \(moov\) is missing"):
        open_recording(path)


def test_cut_avi_delivers_what_is_there_and_says_so(make_video: MakeVideo) -> None:
    path = make_video("clip.avi", count=30)
    data = path.read_bytes()
    # Behind the 18th picture's start: 17 whole ones and a piece.
    position = -1
    for _ in range(18):
        position = data.index(b"00dc", position + 1)
    path.write_bytes(data[: position + 40])
    warnings: list[str] = []
    with open_recording(path, on_warning=warnings.append) as source:
        frames = list(source.frames())
    assert 15 <= len(frames) <= 18
    assert [index_of(frame.image) for frame in frames[:15]] == list(range(15))
    assert source.truncated
    assert warnings == [f"clip.avi is truncated: {len(frames)} of 30 frames could be decoded"]
    assert source.warnings == warnings


def test_avi_that_lacks_only_its_last_bytes_is_truncated(make_video: MakeVideo) -> None:
    path = make_video("clip.avi", count=30)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"00dc", 0, data.rindex(b"idx1")) + 20])
    with open_recording(path) as source:
        count = len(list(source.frames()))
    assert 28 <= count <= 30
    assert source.truncated


@pytest.mark.slow
def test_real_video_has_the_stamps_of_its_container(shared_dir: Path) -> None:
    path = shared_dir / "data" / "highway_traffic.mp4"
    with open_recording(path) as source:
        frames = list(source.frames())
    assert len(frames) == source.frame_count == 38
    assert frames[0].image.shape == (*source.size, 3) == (720, 1280, 3)
    assert np.abs(np.array([f.stamp_ns for f in frames]) - sample_times_ns(path)).max() <= 1


def test_real_video_cut_in_the_middle_is_truncated(shared_dir: Path, tmp_path: Path) -> None:
    data = (shared_dir / "data" / "highway_traffic.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    with open_recording(path) as source:
        count = len(list(source.frames()))
    assert 0 < count < 38
    assert source.truncated
    assert source.warnings == [f"cut.mp4 is truncated: {count} of 38 frames could be decoded"]


@pytest.mark.parametrize("name", ["x.mp4", "x.avi"])
def test_what_is_no_video_is_not_said_to_need_another_decoder(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as if PyAV were not installed
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(InputError, match=r"is not a video that OpenCV can read$"):
        open_recording(tmp_path / name)
