from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dino_foresight_ros.demo import result_folder
from dino_foresight_ros.demo.result_folder import METRICS, MOSAIC, SHEET, SKILL, VIDEO, ResultFolder
from dino_foresight_ros.demo.results import sheet_of
from dino_foresight_ros.errors import InputError

RESULTS = (SHEET, sheet_of("cam_front"), SKILL, MOSAIC, VIDEO)
LOGS = ("forecast_node.log", "replay_node.log")
OTHERS = ("mine.txt", "log/mine.log", "contact_sheet.jpg", "sub/forecast.mp4")


def contents(path: Path) -> dict[str, str]:
    """Every file below a folder, and what it says."""
    files = (entry for entry in path.rglob("*") if entry.is_file())
    return {str(entry.relative_to(path)): entry.read_text() for entry in files}


def write(folder: ResultFolder, text: str, names: tuple[str, ...] = RESULTS) -> None:
    """What a run writes."""
    for name in LOGS:
        (folder.log_dir / name).write_text(text)
    for name in names:
        folder.partial(name).write_text(text)
    told: dict[str, Any] = {"frames_in": 9, "forecasts_out": 5, "exit_codes": {}, "machine": {}}
    folder.partial(METRICS).write_text(json.dumps({**told, "files": folder.names(), "of": text}))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with an earlier run's results, and other files."""
    with ResultFolder(tmp_path / "out") as folder:
        write(folder, "old")
        folder.publish()
    for name in OTHERS:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("mine")
    return tmp_path / "out"


def test_results_appear_together_when_they_are_complete(out: Path) -> None:
    before = contents(out)
    with ResultFolder(out) as folder:
        write(folder, "new", (SHEET, VIDEO))
        assert {name: contents(out)[name] for name in before} == before
        paths = folder.publish()
    after = contents(out)
    numbers = json.loads(after.pop(METRICS))
    logs = [f"log/{name}" for name in LOGS]
    assert after == dict.fromkeys((SHEET, VIDEO, *logs), "new") | dict.fromkeys(OTHERS, "mine")
    assert numbers["files"] == sorted([SHEET, VIDEO, METRICS, *logs])
    assert numbers["of"] == "new"
    # The numbers come last: who finds them finds everything.
    assert paths == [out / SHEET, out / VIDEO, out / METRICS]
    assert {entry.name for entry in out.iterdir()} == {
        SHEET, VIDEO, METRICS, "log", "sub", "mine.txt", "contact_sheet.jpg"
    }  # fmt: skip
    assert not (out / "log" / "unfinished").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_run_that_ends_early_leaves_the_earlier_results_and_its_log(
    out: Path, error: type[BaseException]
) -> None:
    before = contents(out)

    def fail() -> None:
        with ResultFolder(out) as folder:
            (folder.log_dir / LOGS[0]).write_text("why")
            folder.partial(SHEET).write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert contents(out) == before | {f"log/unfinished/{LOGS[0]}": "why"}


@pytest.mark.parametrize("at", range(14))
def test_a_move_that_fails_moves_everything_back(
    out: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    before, moves = contents(out), []
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        moves.append(source)
        if len(moves) == at + 1:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with ResultFolder(out) as folder:
        write(folder, "new")
        monkeypatch.setattr(result_folder.os, "replace", failing)
        with pytest.raises(OSError, match="No space"):
            folder.publish()
    after = contents(out)
    logs = {f"log/unfinished/{name}" for name in LOGS}
    assert {name: text for name, text in after.items() if name not in logs} == before


@pytest.mark.process
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        write(ResultFolder(tmp_path).__enter__(), "half")
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert "half" in "".join(path.read_text() for path in tmp_path.rglob(f"*{METRICS}"))
    with ResultFolder(tmp_path) as folder:
        write(folder, "new", (SHEET,))
        folder.publish()
    assert {entry.name for entry in tmp_path.iterdir()} == {SHEET, METRICS, "log"}


def test_a_second_run_is_refused_and_told_of_the_first(out: Path) -> None:
    with ResultFolder(out, Path("drive.mp4")) as first:
        write(first, "first")
        words = rf"another demo \(process {os.getpid()} since [\d:]+, playing drive.mp4\); wait"
        with pytest.raises(InputError, match=words):
            ResultFolder(out).__enter__()
        first.publish()
    assert json.loads((out / METRICS).read_text())["of"] == "first"
    with ResultFolder(out):
        pass


@pytest.mark.parametrize("name", [*RESULTS, METRICS, f"log/{LOGS[0]}"])
@pytest.mark.parametrize("content", ["mine", '{"frames_in": 3, "loss": 0.1}'])
def test_a_file_of_somebody_else_with_a_results_name_is_not_replaced(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name} was not written by an earlier demo"):
        ResultFolder(tmp_path)
    assert contents(tmp_path) == {name: content}


def test_a_file_that_came_after_an_earlier_run_is_not_replaced(tmp_path: Path) -> None:
    with ResultFolder(tmp_path) as folder:
        write(folder, "old", (SHEET,))
        folder.publish()
    (tmp_path / VIDEO).write_text("mine")
    with pytest.raises(InputError, match=f"{VIDEO} was not written"):
        ResultFolder(tmp_path)


def test_results_of_an_earlier_version_are_replaced(tmp_path: Path) -> None:
    for name in RESULTS:
        (tmp_path / name).write_text("old")
    told = {"frames_in": 9, "forecasts_out": 5, "exit_codes": {}, "machine": {}}
    (tmp_path / METRICS).write_text(json.dumps(told))
    with ResultFolder(tmp_path) as folder:
        write(folder, "new", (SHEET,))
        folder.publish()
    assert {entry.name for entry in tmp_path.iterdir()} == {SHEET, METRICS, "log"}


@pytest.mark.parametrize("name", [VIDEO, METRICS, ".", f"log/{LOGS[0]}"])
def test_an_input_that_would_be_replaced_is_refused(out: Path, tmp_path: Path, name: str) -> None:
    before = contents(out)
    linked = tmp_path / "linked"
    linked.symlink_to(out)
    inputs = [out / name, linked / name]
    if (out / name).is_file():
        os.link(out / name, tmp_path / "hard")
        inputs.append(tmp_path / "hard")
    for played in inputs:
        with pytest.raises(InputError, match="choose another --out"):
            ResultFolder(out, played)
    assert contents(out) == before


def test_an_input_beside_the_results_is_played(out: Path) -> None:
    with ResultFolder(out, out / "sub" / "forecast.mp4") as folder:
        write(folder, "new")
        folder.publish()
    assert (out / "sub" / "forecast.mp4").read_text() == "mine"


def test_an_incomplete_set_is_not_published(out: Path) -> None:
    before = contents(out)
    with ResultFolder(out) as folder:
        folder.partial(VIDEO).write_text("no numbers")
        with pytest.raises(OSError, match="No such file"):
            folder.publish()
    assert contents(out) == before


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file cannot be made a folder"):
        ResultFolder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        ResultFolder(tmp_path / "file" / "below").__enter__()
