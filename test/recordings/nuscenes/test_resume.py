"""Many scenes, second runs: what is complete stays, what is bad is named, tables are read once."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nuscenes_set import NuScenesSet

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_writer import BagWriter
from dino_foresight_ros.recordings.nuscenes import rows

pytestmark = pytest.mark.slow

FRONT = ("--cameras", "CAM_FRONT", "--keyframes-only")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "data"
    return NuScenesSet(folder, scenes=3, size=(32, 18), one_drive=True).write()


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


def convert(root: Path, out: Path, *more: str, scene: str = "all") -> int:
    place = ("--dataroot", str(root), "--scene", scene, "--out", str(out))
    return main(["bag", "from-nuscenes", *place, *more])


def counts(bag: Path) -> dict[str, int]:
    reader = BagReader(bag)
    found = Counter(message.topic for message in reader.messages(list(reader.topics)))
    reader.close()
    return dict(found)


def test_all_scenes_go_on_where_they_were(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "all"
    assert convert(data, out, *FRONT) == 0
    first = (out / "scene-0061" / "metadata.yaml").stat().st_mtime_ns
    assert counts(out / "scene-0062")["/cam_front/image_rect/compressed"] == 3
    shutil.rmtree(out / "scene-0062")
    for file in data.glob("samples/*/scene-0061*"):  # archives are often removed after use
        file.unlink()
    capsys.readouterr()
    assert convert(data, out, *FRONT) == 0
    assert "scene-0061: there already, complete" in capsys.readouterr().out
    assert (out / "scene-0061" / "metadata.yaml").stat().st_mtime_ns == first
    assert counts(out / "scene-0062")["/cam_front/image_rect/compressed"] == 3


def test_a_single_scene_is_found_complete_as_well(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "drive"
    for _ in range(2):
        assert convert(data, out, *FRONT, scene="scene-0062") == 0
    assert f"{out}: there already, complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "scene", "words"),
    [
        (("--cameras", "CAM_FRONT,CAM_BACK", "--keyframes-only"), "scene-0061", "/cam_back/"),
        (("--cameras", "CAM_BACK", "--keyframes-only"), "scene-0061", "topics differ"),
        ((*FRONT, "--lidar"), "scene-0061", "/lidar_top has 0 messages, not 3"),
        (("--cameras", "CAM_FRONT"), "scene-0061", "has 3 messages, not 13"),
        ((*FRONT, "--storage", "sqlite3"), "scene-0061", "storage is not sqlite3"),
        (FRONT, "scene-0062", "begins at another time"),
    ],
)
def test_a_bag_of_something_else_is_no_finished_one(
    data: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    scene: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "drive"
    assert convert(data, out, *FRONT, scene="scene-0061") == 0
    before = (out / "metadata.yaml").read_bytes()
    capsys.readouterr()
    assert convert(data, out, *options, scene=scene) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert "choose another --out" in line
    assert (out / "metadata.yaml").read_bytes() == before
    assert convert(data, out, *options, "--force", scene=scene) == 0


def test_folders_that_are_no_bags_or_cut_off_ones_are_not_finished(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "all"
    (out / "scene-0062").mkdir(parents=True)
    assert convert(data, out, *FRONT) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert not (out / "scene-0061").exists()  # said before hours of writing
    (out / "scene-0062").rmdir()
    assert convert(data, out, *FRONT) == 0
    (file,) = (out / "scene-0062").glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    capsys.readouterr()
    assert convert(data, out, *FRONT) == 1
    assert "scene-0062 is there, but is not the bag wanted" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "no picture"])
def test_scenes_whose_files_are_bad_are_listed_and_the_others_written(
    data: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "all"
    files = sorted(data.glob("samples/CAM_FRONT/scene-0062*"))[1:]
    for file in files:
        file.unlink() if damage == "missing" else file.write_bytes(b"<html>")
    assert convert(data, out, *FRONT) == 1
    last = capsys.readouterr().err.strip().splitlines()[-2:]
    assert last[0].startswith(f"scene-0062: {files[0]} ")
    assert ("2 of 3 files of scene-0062" if damage == "missing" else "no JPEG") in last[0]
    assert "1 of 3 scenes were not written" in last[1]
    assert sorted(path.name for path in out.iterdir()) == ["scene-0061", "scene-0063"]


def test_each_table_is_read_once_however_many_scenes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read: Counter[str] = Counter()
    real = rows.table_rows

    def counted(path: Path) -> Any:
        read[path.name] += 1
        return real(path)

    monkeypatch.setattr(rows, "table_rows", counted)
    assert convert(data, tmp_path / "all", *FRONT, "--annotations") == 0
    assert set(read.values()) == {1}
    assert len(read) == 13
    alone = tmp_path / "alone"
    assert convert(data, alone, *FRONT, "--annotations", scene="scene-0063") == 0
    assert counts(alone) == counts(tmp_path / "all" / "scene-0063")


def test_a_bag_that_cannot_be_read_back_never_appears(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "drive"
    assert convert(data, out, *FRONT, scene="scene-0061") == 0
    before = counts(out)
    real = BagWriter.write_serialized

    def forgetful(self: BagWriter, topic: str, *more: Any, **options: Any) -> None:
        if topic != "/odom":
            real(self, topic, *more, **options)

    monkeypatch.setattr(BagWriter, "write_serialized", forgetful)
    assert convert(data, tmp_path / "new", *FRONT, scene="scene-0061") == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{tmp_path / 'new'} was not written" in line
    assert "/odom has 0 of 3 messages" in line
    assert convert(data, out, *FRONT, "--force", scene="scene-0061") == 1
    assert counts(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "drive"]
