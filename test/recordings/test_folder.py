"""Folders of pictures."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import open_recording
from dino_foresight_ros.recordings.file_kinds import natural_key
from dino_foresight_ros.recordings.recording import MAX_BAD_FRAMES

MakeFolder = Callable[..., Path]


def test_pictures_come_in_natural_order(make_folder: MakeFolder) -> None:
    path = make_folder(["img1.png", "img2.png", "img10.png"])
    assert [int(frame.image[0, 0, 0]) for frame in open_recording(path).frames()] == [20, 44, 68]


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), unique=True, min_size=2), st.booleans())
def test_natural_order_is_the_order_of_the_numbers(numbers: list[int], padded: bool) -> None:
    names = {number: f"cam{number:07d}.png" if padded else f"cam{number}.png" for number in numbers}
    shuffled = list(names.values())
    random.Random(0).shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == [names[number] for number in sorted(numbers)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "ppm", "webp", "tif"])
def test_every_picture_format_is_read_as_rgb(make_folder: MakeFolder, suffix: str) -> None:
    frames = list(open_recording(make_folder([f"a.{suffix}", f"b.{suffix}"])).frames())
    colors = np.array([frame.image.reshape(-1, 3).mean(axis=0) for frame in frames])
    assert np.abs(colors - [[20, 20, 0], [44, 20, 0]]).max() < 4


def test_frame_rate_makes_the_stamps(make_folder: MakeFolder) -> None:
    path = make_folder(["1.png", "2.png", "3.png", "4.png"])
    source = open_recording(path, frame_rate_hz=30.0)
    assert [frame.stamp_ns for frame in source.frames()] == [0, 33_333_333, 66_666_667, 100_000_000]
    assert source.frame_rate_hz == 30.0
    assert source.warnings == []


def test_without_rate_or_times_ten_hertz_are_taken_and_said(make_folder: MakeFolder) -> None:
    source = open_recording(make_folder(["1.png", "2.png"]))
    assert [frame.stamp_ns for frame in source.frames()] == [0, 100_000_000]
    assert "taken as 10 pictures per second" in source.warnings[0]


@pytest.mark.parametrize(
    ("names", "expected_ns"),
    [
        (["1533151603512404000", "1533151603612404111"], [0, 100_000_111]),
        (["CAM_FRONT__1533151603512404", "CAM_FRONT__1533151603612404"], [0, 100_000_000]),
        (["1533151603512", "1533151603612"], [0, 100_000_000]),
        (["1533151603.512404", "1533151603.6"], [0, 87_596_000]),
    ],
)
def test_times_in_file_names_are_the_stamps(
    make_folder: MakeFolder, names: list[str], expected_ns: list[int]
) -> None:
    source = open_recording(make_folder([name + ".png" for name in names]))
    stamps = [frame.stamp_ns for frame in source.frames()]
    assert [stamp - stamps[0] for stamp in stamps] == expected_ns
    assert stamps[0] // 10**9 == 1533151603
    assert source.has_absolute_stamps
    assert source.frame_rate_hz == pytest.approx(1e9 / expected_ns[1])


@pytest.mark.parametrize(
    "names",
    [
        ["0000000000000001", "0000000000000002"],  # 16 digits, but a counter
        ["9933151603512404000", "9933151603612404000"],  # beyond the year 2100
        ["1533151603512404", "frame2"],
        ["b_1533151603512404", "c_1533151603412404"],  # against the natural order
    ],
)
def test_implausible_times_in_file_names_are_not_taken(
    make_folder: MakeFolder, names: list[str]
) -> None:
    source = open_recording(make_folder([name + ".png" for name in names]))
    assert not source.has_absolute_stamps
    assert [frame.stamp_ns for frame in source.frames()] == [0, 100_000_000]


def test_window_counts_from_the_first_picture(make_folder: MakeFolder) -> None:
    names = [f"{1533151603000000 + 100_000 * i}.png" for i in range(10)]
    source = open_recording(make_folder(names), start_s=0.3, end_s=0.6)
    assert [frame.index for frame in source.frames()] == [3, 4, 5]
    assert source.frame_count == 3


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damaged_pictures_are_skipped_and_named(
    make_folder: MakeFolder, suffix: str, damage: str
) -> None:
    path = make_folder([f"{i}.{suffix}" for i in range(4)])
    bad = path / f"2.{suffix}"
    data = bad.read_bytes()
    bad.write_bytes({"cut": data[:-20], "noise": bytes(500), "empty": b""}[damage])
    source = open_recording(path, frame_rate_hz=10.0)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == [0, 1, 3]
    assert [frame.stamp_ns for frame in frames] == [0, 100_000_000, 300_000_000]
    assert len(source.warnings) == 1
    assert source.warnings[0].startswith(f"2.{suffix} skipped: ")


def test_too_many_damaged_pictures_end_it(make_folder: MakeFolder) -> None:
    path = make_folder(["0.png"])
    for index in range(1, MAX_BAD_FRAMES + 5):
        (path / f"{index}.png").write_bytes(b"no picture")
    source = open_recording(path)
    with pytest.raises(InputError, match=f"more than {MAX_BAD_FRAMES} pictures cannot be read"):
        list(source.frames())


def test_folder_of_damaged_pictures_only_is_an_error(make_folder: MakeFolder) -> None:
    path = make_folder([])
    (path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="none of its 1 pictures is readable"):
        open_recording(path)


def test_different_sizes_are_delivered_and_said(make_folder: MakeFolder) -> None:
    path = make_folder(["1.png"])
    big = make_folder(["x.png"], "other") / "x.png"
    (path / "2.png").write_bytes(_resized(big.read_bytes()))
    source = open_recording(path, frame_rate_hz=5.0)
    assert [frame.image.shape for frame in source.frames()] == [(48, 64, 3), (24, 32, 3)]
    assert source.warnings == [
        "pictures: picture sizes differ; 2.png is 32x24, the first one 64x48; all are taken as "
        "they are"
    ]


def test_many_different_sizes_are_counted(make_folder: MakeFolder) -> None:
    path = make_folder([f"{index}.png" for index in range(9)])
    big = make_folder(["x.png"], "other") / "x.png"
    for index in (2, 3, 5, 8):
        (path / f"{index}.png").write_bytes(_resized(big.read_bytes()))
    source = open_recording(path, frame_rate_hz=5.0)
    for _ in range(2):  # as in a loop
        assert len(list(source.frames())) == 9
    first, count = source.warnings
    assert "2.png is 32x24" in first
    assert count == "pictures: 4 of 9 pictures are not 64x48"


def test_many_damaged_pictures_are_counted(make_folder: MakeFolder) -> None:
    path = make_folder(["0.png"])
    for index in range(1, 11):
        (path / f"{index}.png").write_bytes(b"no picture")
    source = open_recording(path, frame_rate_hz=5.0)
    assert len(list(source.frames())) == 1
    assert [text.split()[0] for text in source.warnings[:3]] == ["1.png", "2.png", "3.png"]
    assert source.warnings[3:] == ["pictures: 10 of 11 pictures skipped in all"]


def _resized(data: bytes) -> bytes:
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return bytes(cv2.imencode(".png", cv2.resize(image, (32, 24)))[1].tobytes())


def test_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is an empty folder"):
        open_recording(tmp_path)


def test_folder_without_pictures_lists_what_it_holds(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / f"{name}.csv").touch()
    with pytest.raises(InputError, match=r"holds no pictures.*a\.csv.*e\.csv, and 2 more$"):
        open_recording(tmp_path)


@pytest.mark.parametrize("rate_hz", [-5.0, float("nan"), float("inf")])
def test_senseless_frame_rate_is_a_usage_error(make_folder: MakeFolder, rate_hz: float) -> None:
    with pytest.raises(UsageError, match="frame rate"):
        open_recording(make_folder(["1.png"]), frame_rate_hz=rate_hz)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Run as a user whom file permissions stop; yield a folder that this user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    for entry in folder.rglob("*"):
        entry.chmod(0o700)
    shutil.rmtree(folder)


def test_unreadable_picture_is_skipped_and_named(
    make_folder: MakeFolder, unprivileged: Path
) -> None:
    is_nobody = os.geteuid() == 65534
    if is_nobody:
        os.seteuid(0)
    path = unprivileged / "pictures"
    shutil.copytree(make_folder(["1.png", "2.png"]), path)
    path.chmod(0o755)
    (path / "1.png").chmod(0o644)
    (path / "2.png").chmod(0)
    if is_nobody:
        os.seteuid(65534)
    source = open_recording(path, frame_rate_hz=10.0)
    assert [frame.index for frame in source.frames()] == [0]
    assert source.warnings == ["2.png skipped: Permission denied"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_unreadable_input_is_an_error(unprivileged: Path, kind: str) -> None:
    path = unprivileged / "input"
    is_nobody = os.geteuid() == 65534
    if is_nobody:
        os.seteuid(0)
    if kind == "file":
        path.write_bytes(b"x")
    else:
        path.mkdir()
    path.chmod(0)
    if is_nobody:
        os.seteuid(65534)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        open_recording(path)
