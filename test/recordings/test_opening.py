"""Naming data: the grammar, folders that hold several things, and data that is not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.recordings.spec import parse_spec


def names(*specs: str) -> list[str]:
    return [recording.name for recording in open_recordings(list(specs))]


def test_options_stand_behind_the_last_question_mark(tmp_path: Path) -> None:
    folder = tmp_path / "what?is:this"
    folder.mkdir()
    spec = parse_spec(f"folder:{folder}?rate=10&part=0-0.5")
    assert (spec.kind, spec.path) == ("folder", folder)
    assert spec.options == {"rate": "10", "part": "0-0.5"}
    assert parse_spec(f"folder:{folder}").path == folder
    assert parse_spec(str(folder)).options == {}


def test_an_existing_path_wins_over_the_grammar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("camvid:x?split=train").mkdir()
    spec = parse_spec("camvid:x?split=train")
    assert (spec.kind, spec.path, spec.options) == ("auto", Path("camvid:x?split=train"), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("camvid:{d}?splt=train", "unknown option splt; valid for camvid: split, classes"),
        ("{d}/a.mp4?topic=/x", "unknown option topic; valid for video: start, end, part"),
        ("lidar:{d}", "'lidar' is no kind of data and no such path exists; valid kinds: video"),
        ("video:{d}/a.mp4?start", "no list of options"),
        ("video:{d}/a.mp4?start=1&start=2", "start is given twice"),
        ("video:{d}/a.mp4?start=soon", "start=soon is wrong; give a number"),
        ("video:{d}/a.mp4?start=2&end=1", "end=1 is wrong; give seconds after start"),
        ("video:{d}/a.mp4?part=0.5-0.5", "part=0.5-0.5 is wrong; give two fractions"),
        ("video:{d}/a.mp4?part=0-0.5&start=1", "give part, or start and end, not both"),
        ("synthetic:?seeds=3-1", "seeds=3-1 is wrong; give numbers and ranges"),
        ("synthetic:?size=180", "size=180 is wrong; give height x width"),
        ("synthetic:?frames=0", "frames=0 is wrong; give a whole number from 1"),
        ("synthetic:?scene=moon", "moon"),
        ("synthetic:/tmp/x", "has no path"),
        (" ", "names no data"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_is_valid(
    text: str, message: str, make_drive: Callable[..., Path]
) -> None:
    folder = make_drive("a.mp4").parent
    with pytest.raises(UsageError) as caught:
        open_recordings([text.format(d=folder)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_data_at_all() -> None:
    with pytest.raises(UsageError, match="no data is named"):
        open_recordings([])
    with pytest.raises(InputError, match="/nowhere does not exist"):
        open_recordings(["/nowhere"])


def test_parts_of_a_recording(make_drive: Callable[..., Path]) -> None:
    path = make_drive(count=40, rate_hz=20.0)  # 2 s
    whole = open_recordings([str(path)])[0]
    (seconds,) = open_recordings([f"{path}?start=0.5&end=1"])
    assert (seconds.stamps_ns / 1e6).tolist() == [500 + 50 * i for i in range(10)]
    first, second = open_recordings([f"{path}?part=0-0.7&times=4", f"{path}?part=0.7-1"])
    assert (first.times, second.times) == (4, 1)
    assert np.array_equal(np.append(first.stamps_ns, second.stamps_ns), whole.stamps_ns)
    assert len(first) == 28
    assert first.name == "drive.mp4@0-0.7"
    assert len({whole.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert np.array_equal(second.read([3])[0].image, whole.read([31])[0].image)
    with pytest.raises(InputError, match=r"no frame of drive.mp4 lies in the part 5s-"):
        open_recordings([f"{path}?start=5"])


def test_a_folder_with_everything_in_it(
    tmp_path: Path,
    make_drive: Callable[..., Path],
    make_bag: Callable[..., Path],
    make_stills: Callable[..., Path],
    make_camvid: Callable[..., Path],
) -> None:
    make_drive("b10.mp4")
    make_drive("b9.avi")
    make_bag("run")
    make_stills("stills")
    make_camvid("camvid")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden.mp4").write_text("x")
    warnings: list[str] = []
    found = open_recordings([str(tmp_path)], warnings.append)
    assert [recording.name for recording in found] == [
        "b9.avi", "b10.mp4", "camvid-train-0001TP", "camvid-train-0006R0", "run", "stills",
    ]  # fmt: skip
    assert len(warnings) == 1
    assert "empty holds no video, pictures, rosbag2" in warnings[0]


def test_storage_files_beside_one_another_are_bags_of_their_own_or_splits_of_one(
    tmp_path: Path, make_bag: Callable[..., Path]
) -> None:
    step = 100_000_000
    for number in range(2):
        messages = [("/cam", i, 10**18 + (10 * number + i) * step) for i in range(10)]
        make_bag(f"part{number}", messages)
    for names_of, expected in ((("x_0", "x_1"), [20]), (("am", "pm"), [10, 10])):
        folder = tmp_path / names_of[0] / "bags"
        folder.mkdir(parents=True)
        for number, name in enumerate(names_of):
            source = next((tmp_path / f"part{number}").glob("*.mcap"))
            shutil.copy(source, folder / f"{name}.mcap")
        assert [len(recording) for recording in open_recordings([str(folder)])] == expected


def test_a_folder_of_nothing_useful(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds no video, pictures, .*; it holds notes.txt"):
        open_recordings([str(tmp_path)])


def test_broken_files_are_named_and_left_out_up_to_a_limit(
    tmp_path: Path, make_drive: Callable[..., Path]
) -> None:
    good = make_drive("good.mp4")
    for number in range(3):
        broken = tmp_path / f"broken{number}.mp4"
        broken.write_bytes(good.read_bytes()[:3000])
    (tmp_path / "text.mp4").write_text("no video\n")
    warnings: list[str] = []
    found = open_recordings([str(tmp_path)], warnings.append)
    assert [recording.name for recording in found] == ["good.mp4"]
    assert [text.partition(": ")[0] for text in warnings] == ["left out"] * 2 + ["left out in all"]
    for text, name in zip(warnings, ("broken0.mp4", "text.mp4", "broken2.mp4"), strict=True):
        assert name in text
    assert "3 for this reason" in warnings[2]
    with pytest.raises(InputError, match=r"more than 2 files .* such as .*broken0.mp4"):
        open_recordings([str(tmp_path)], max_bad=2)
    with pytest.raises(InputError, match=r"nothing to read: .*broken0.mp4 is cut off"):
        open_recordings([str(tmp_path / "broken0.mp4")], warnings.append)
    assert len(warnings) == 3  # the one line is the error's
    with pytest.raises(InputError, match=r"nothing to read: .* cannot be read: Is a directory"):
        open_recordings([f"video:{tmp_path}"])


def test_equal_names_are_told_apart_whatever_the_order(
    tmp_path: Path, make_drive: Callable[..., Path]
) -> None:
    for folder, count in (("monday", 30), ("tuesday", 40)):
        (tmp_path / folder).mkdir()
        shutil.move(make_drive("drive.mp4", count), tmp_path / folder / "drive.mp4")
    a, b = str(tmp_path / "monday" / "drive.mp4"), str(tmp_path / "tuesday" / "drive.mp4")
    found = names(a, b)
    assert len(set(found)) == 2
    assert all(name.startswith("drive.mp4~") for name in found)
    assert names(b, a) == found[::-1]
    assert names(a) == ["drive.mp4"]


def test_what_is_named_twice_is_read_once(make_drive: Callable[..., Path]) -> None:
    path = str(make_drive())
    warnings: list[str] = []
    assert len(open_recordings([path, f"video:{path}"], warnings.append)) == 1
    assert warnings == ["drive.mp4 is named twice; it is read once"]


def test_a_moved_file_keeps_its_fingerprint(
    tmp_path: Path, make_drive: Callable[..., Path]
) -> None:
    path = make_drive()
    before = open_recordings([str(path)])[0].fingerprint
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / path.name)
    assert open_recordings([str(moved)])[0].fingerprint == before


def test_files_of_equal_size_and_time_are_told_apart_by_content(tmp_path: Path) -> None:
    from dino_foresight_ros.recordings.file_identity import files_identity

    prints = []
    for content in (b"a" * 500_000, b"a" * 499_999 + b"b"):
        path = tmp_path / "x.mcap"
        path.write_bytes(content)
        import os

        os.utime(path, (0, 0))
        prints.append(list(files_identity([path], tmp_path)))
    assert prints[0] != prints[1]
