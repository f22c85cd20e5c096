from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.training.stages import Stage, StageRunner


class Work:
    """A run of two stages, the second made from the first; counts what is done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done: list[str] = []
        self.said: list[str] = []
        self.fails_in: str | None = None
        self.resumable: set[str] = set()

    def stage(self, name: str, settings: Any, inputs: dict[str, Any]) -> Stage:
        def make(folder: Path, go_on: bool) -> None:
            self.done.append(f"{name} resumed" if go_on else name)
            assert folder.exists() == go_on
            folder.mkdir(exist_ok=True)
            (folder / "half").write_text("half")
            if self.fails_in == name:
                raise KeyboardInterrupt
            (folder / "weights").write_text(json.dumps([settings, inputs]))

        return Stage(name, {"set": settings}, inputs, make, lambda _: name in self.resumable)

    def run(self, first: int = 1, second: int = 1, data: str = "a") -> list[str]:
        """Run both; return what was really done."""
        self.done.clear()
        runner = StageRunner(self.root, self.said.append)
        with runner.locked():
            made = runner.run(self.stage("one", first, {"data": data}))
            runner.run(self.stage("two", second, {"one": made}))
        return list(self.done)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "out")


def test_done_stages_are_skipped(work: Work) -> None:
    assert work.run() == ["one", "two"]
    assert work.run() == []
    assert work.said[-2:] == ["one: unchanged, kept", "two: unchanged, kept"]


def test_changed_settings_redo_a_stage_and_what_follows_from_it(work: Work) -> None:
    work.run()
    assert work.run(second=2) == ["two"]
    assert work.run(first=2, second=2) == ["one", "two"]
    assert work.run(first=2, second=2) == []


def test_changed_data_redo_everything(work: Work) -> None:
    work.run()
    assert work.run(data="b") == ["one", "two"]


def test_what_a_stage_made_before_stays_until_it_is_done_anew(work: Work) -> None:
    work.run()
    weights = (work.root / "two" / "weights").read_text()
    work.fails_in = "two"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work.run(second=2)
        assert (work.root / ".two.before" / "weights").read_text() == weights
    work.fails_in = None
    assert work.run(second=2) == ["two"]
    assert not (work.root / ".two.before").exists()


@pytest.mark.parametrize("stage", ["one", "two"])
def test_interrupted_stage_is_done_anew_and_the_one_before_kept(work: Work, stage: str) -> None:
    work.fails_in = stage
    with pytest.raises(KeyboardInterrupt):
        work.run()
    work.fails_in = None
    assert work.run() == (["one", "two"] if stage == "one" else ["two"])
    assert work.run() == []


def test_interrupted_stage_is_gone_on_with_where_it_can(work: Work) -> None:
    work.resumable = {"two"}
    work.fails_in = "two"
    with pytest.raises(KeyboardInterrupt):
        work.run()
    work.fails_in = None
    assert work.run() == ["two resumed"]


def test_interrupted_stage_with_other_settings_is_not_gone_on_with(work: Work) -> None:
    work.resumable = {"two"}
    work.fails_in = "two"
    with pytest.raises(KeyboardInterrupt):
        work.run()
    work.fails_in = None
    assert work.run(second=5) == ["two"]
    assert work.said[-1] == "two: its inputs have changed, starting anew"


def test_lost_or_shortened_output_is_made_anew(work: Work) -> None:
    work.run()
    (work.root / "one" / "weights").write_text("short")
    # The same content comes back, so what follows is kept.
    assert work.run() == ["one"]
    (work.root / "two" / "weights").unlink()
    assert work.run() == ["two"]


def test_notes_and_logs_beside_the_output_do_not_matter(work: Work) -> None:
    work.run()
    (work.root / "one" / "notes.txt").write_text("my own")
    (work.root / "two" / "tensorboard").mkdir()
    (work.root / "two" / "tensorboard" / "events").write_text("log")
    assert work.run() == []


def test_folder_of_something_else_is_refused(work: Work) -> None:
    work.root.mkdir()
    (work.root / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists and is none of this command's"):
        work.run()
    assert [path.name for path in work.root.iterdir()] == ["thesis.txt"]


def test_folder_of_a_stage_that_it_did_not_make_is_never_removed(work: Work) -> None:
    runner = StageRunner(work.root, work.said.append)
    with runner.locked():
        runner.run(work.stage("one", 1, {}))
    (work.root / "two").mkdir()
    (work.root / "two" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="was not made by this run; move it away"):
        work.run()
    assert (work.root / "two" / "thesis.txt").is_file()


@pytest.mark.parametrize("text", ["{", "[]", '{"one": 3}', '{"one": {}}'])
def test_damaged_record_is_named(work: Work, text: str) -> None:
    work.run()
    (work.root / "stages.json").write_text(text)
    with pytest.raises(InputError, match=r"stages\.json is damaged"):
        work.run()


def test_second_run_at_the_same_time_is_refused(work: Work) -> None:
    with (
        StageRunner(work.root, work.said.append).locked(),
        pytest.raises(InputError, match="is in use by another run"),
    ):
        work.run()
    assert work.run() == ["one", "two"]
