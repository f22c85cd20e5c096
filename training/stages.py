"""Stages that follow one another, each done once: skipped, gone on with, or done anew.

A stage is done when its record says so, its inputs are what they were and its files are there. The
record (stages.json) is written when a stage begins and when it ends, so after a kill it is known
which folder is half done, and with which inputs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.files import sole_run, write_whole

RECORD, LOCK = "stages.json", ".lock"
_LOGS = frozenset({"tensorboard", "history.jsonl"})
"""In a stage's folder, but no part of what it made."""


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: also that of its folder.
        settings: everything that decides what it makes, upstream stages and data aside.
        inputs: fingerprints of data and of what earlier stages made.
        run: does it, into a folder that does not exist; told whether to go on with one that does.
        resumes: whether a half-done folder can be gone on with; else it is removed first.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]
    run: Callable[[Path, bool], None]
    resumes: Callable[[Path], bool] = lambda folder: False

    @property
    def key(self) -> str:
        """Changes when what the stage makes may change."""
        text = json.dumps([self.settings, self.inputs], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class StageRunner:
    """Runs stages in the folders below one that is its own."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        """Take a folder that is new, empty, or was made by this before.

        Raises:
            InputError: it holds something else, or a damaged record.
        """
        self.root, self._say = root, say
        self._path = root / RECORD
        self._stages: dict[str, dict[str, Any]] = {}
        if self._path.is_file():
            self._stages = _read(self._path)
        elif root.exists() and (not root.is_dir() or _visible(root)):
            raise InputError(f"{root} exists and is none of this command's; choose another --out")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other run out of the folder.

        Raises:
            InputError: another one is in it.
            ForesightError: the folder cannot be written.
        """
        with sole_run(self.root, self.root / LOCK):
            if self._path.is_file():
                self._stages = _read(self._path)
            yield

    def run(self, stage: Stage) -> str:
        """Do a stage unless it is done.

        Returns:
            A fingerprint of what it made, for the inputs of later stages.

        Raises:
            InputError: its folder exists and was not made by this.
        """
        folder, record = self.root / stage.name, self._stages.get(stage.name)
        same = record is not None and record["key"] == stage.key
        if same and record is not None and record["done"] and _intact(folder, record["files"]):
            self._say(f"{stage.name}: unchanged, kept")
            return str(record["made"])
        go_on = same and folder.exists() and stage.resumes(folder)
        if not go_on:
            self._clear(folder, record)
        self._say(f"{stage.name}: {_why(record, same, go_on)}")
        self._write(stage.name, {"key": stage.key, "done": False})
        stage.run(folder, go_on)
        files = _files(folder)
        made = hashlib.sha256(f"{stage.key} {json.dumps(files, sort_keys=True)}".encode())
        done = {"key": stage.key, "done": True, "made": made.hexdigest()[:16], "files": files}
        self._write(stage.name, done)
        shutil.rmtree(self._before(folder), ignore_errors=True)
        return str(done["made"])

    @staticmethod
    def _before(folder: Path) -> Path:
        """Where what a stage made before lies until it is done anew."""
        return folder.with_name(f".{folder.name}.before")

    def _clear(self, folder: Path, record: Mapping[str, Any] | None) -> None:
        if not folder.exists():
            return
        if record is None:
            raise InputError(f"{folder} exists and was not made by this run; move it away")
        try:
            if record["done"]:
                shutil.rmtree(self._before(folder), ignore_errors=True)
                folder.rename(self._before(folder))
            else:
                shutil.rmtree(folder)
        except OSError as error:
            raise ForesightError(f"{folder} cannot be removed: {error}") from error

    def _write(self, name: str, record: dict[str, Any]) -> None:
        self._stages[name] = record
        try:
            write_whole(self._path, json.dumps(self._stages, indent=1) + "\n")
        except OSError as error:
            raise ForesightError(f"{self._path} cannot be written: {error}") from error


def _why(record: Mapping[str, Any] | None, same: bool, go_on: bool) -> str:
    if go_on:
        return "was interrupted, going on"
    if record is None:
        return "starting"
    if not same:
        return "its inputs have changed, starting anew"
    return "its files are damaged, starting anew" if record["done"] else "was interrupted, anew"


def _visible(folder: Path) -> bool:
    return any(path.name != LOCK for path in folder.iterdir())


def _files(folder: Path) -> dict[str, int]:
    """Relative path -> size of everything that a stage made."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not _LOGS & set(relative.parts):
            found[relative.as_posix()] = path.stat().st_size
    return found


def _intact(folder: Path, files: Mapping[str, int]) -> bool:
    """Whether every file is there at its size; further ones, such as notes, do not matter."""
    try:
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except OSError:
        return False


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        values = json.loads(path.read_text())
        if not all("key" in record and "done" in record for record in values.values()):
            raise ValueError("it is no record of stages")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({reason}); choose another --out") from error
    return dict(values)
