from __future__ import annotations

from pathlib import Path

import pytest

from dino_foresight_ros.demo.results import (
    METRICS,
    MOSAIC,
    SHEET,
    SKILL,
    VIDEO,
    ResultFolder,
    sheet_of,
)
from dino_foresight_ros.errors import InputError

RESULTS = (SHEET, sheet_of("cam_front"), SKILL, MOSAIC, VIDEO, METRICS)


def results_in(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name != "log")


def test_results_appear_together_when_they_are_complete(tmp_path: Path) -> None:
    with ResultFolder(tmp_path / "out") as folder:
        for name in RESULTS:
            folder.partial(name).write_text("new")
        assert not set(results_in(tmp_path / "out")) & set(RESULTS)
        paths = folder.publish()
    assert [path.read_text() for path in paths] == ["new"] * len(RESULTS)
    assert results_in(tmp_path / "out") == sorted(RESULTS)
    # The numbers come last: who finds them finds everything.
    assert paths[-1].name == METRICS


def test_a_failed_run_leaves_neither_its_own_nor_older_results(tmp_path: Path) -> None:
    for name in RESULTS:
        (tmp_path / name).write_text("old")
    (tmp_path / "mine.txt").write_text("kept")

    def fail() -> None:
        with ResultFolder(tmp_path) as folder:
            folder.partial(RESULTS[0]).write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert results_in(tmp_path) == ["mine.txt"]


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = ResultFolder(tmp_path).__enter__()
    killed.partial(RESULTS[0]).write_text("half")
    with ResultFolder(tmp_path):
        assert len(results_in(tmp_path)) == 1
    assert results_in(tmp_path) == []


def test_an_incomplete_set_is_not_published(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        folder.partial(VIDEO).write_text("no numbers")
        with pytest.raises(OSError, match="No such file"):
            folder.publish()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be made a folder"):
        ResultFolder(tmp_path / "file")
