"""The demo's result folder: all results of a run or those of the run before, and nobody else's."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dino_foresight_ros.closeable import Closeable
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.files import InUseError, locked, this_process

SHEET, SKILL, MOSAIC = "contact_sheet.png", "skill.png", "mosaic.png"
IMAGINED = "imagined.png"
VIDEO, METRICS, LOG = "forecast.mp4", "metrics.json", "log"
# The log of a run that is not finished, or failed.
UNFINISHED_LOG = f"{LOG}/unfinished"
_LOCK = ".foresight-demo.lock"
_SCRATCH_PREFIX = ".foresight-demo-"
# What a run may write. Of several cameras, each has a sheet.
_RESULTS = (
    SHEET, "contact_sheet_*.png", SKILL, MOSAIC, IMAGINED, VIDEO, METRICS, f"{LOG}/*_node.log",
)  # fmt: skip
# Its metrics.json lists what a run wrote; those of earlier versions have these instead.
_FILES = "files"
_EARLIER = {"frames_in", "forecasts_out", "exit_codes", "machine"}


class ResultFolder(Closeable):
    """Results are written in a hidden folder beside their place, and moved there together.

    Those of an earlier run, which its metrics.json lists, go when the new ones are complete: a run
    that fails or is interrupted leaves them. Other files stay, and where one has the name of a
    result, the folder is refused. While a run is in the folder, no other gets in.
    """

    def __init__(self, path: Path, played: Path | None = None) -> None:
        """Look at the folder; it is made when it is entered.

        Args:
            path: the folder.
            played: the input; None where it is no file.

        Raises:
            InputError: something else's results would be replaced, or the input itself.
        """
        self.path = path.expanduser().absolute()
        self.log_dir = self.path / UNFINISHED_LOG
        self._note = this_process() + (f", playing {played}" if played is not None else "")
        self._closing = ExitStack()
        self._scratch: Path | None = None
        self._old = self._check()
        if played is not None:
            self._check_apart(played.expanduser())

    def __enter__(self) -> ResultFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._closing.enter_context(locked(self.path / _LOCK, self._note))
        except InUseError as error:
            raise InputError(
                f"--out {self.path} is in use by another demo ({error}); wait for it, or choose "
                "another --out"
            ) from error
        except OSError as error:
            raise InputError(f"--out {self.path} cannot be written: {error.strerror}") from error
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    def partial(self, name: str) -> Path:
        """Where to write a result until it is complete."""
        assert self._scratch is not None
        return self._scratch / "new" / name

    def names(self) -> list[str]:
        """The results so far, as metrics.json lists them under "files", itself included."""
        assert self._scratch is not None
        pictures = {path.name for path in (self._scratch / "new").iterdir()}
        logs = {f"{LOG}/{path.name}" for path in self.log_dir.glob("*_node.log")}
        return sorted(pictures | logs | {METRICS})

    def publish(self) -> list[Path]:
        """Put the complete results in the place of the earlier ones, and return their paths.

        The numbers come last: who finds them finds everything. On an error nothing has changed.
        """
        assert self._scratch is not None
        aside = self._scratch / "old"
        names = [name for name in self.names() if name != METRICS] + [METRICS]
        moved: list[tuple[Path, Path]] = []
        try:
            # The earlier numbers go first.
            for name in sorted(self._old, key=lambda name: name != METRICS):
                if (self.path / name).exists():
                    _move(self.path / name, aside / name, moved)
            for name in names:
                is_log = name.startswith(f"{LOG}/")
                written = self.log_dir / Path(name).name if is_log else self.partial(name)
                _move(written, self.path / name, moved)
        except BaseException:
            for source, target in reversed(moved):
                os.replace(target, source)
            raise
        return [self.path / name for name in names if not name.startswith(f"{LOG}/")]

    def close(self) -> None:
        """Remove what was not published, but for the log, which says why."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
            for folder in (self.log_dir, self.log_dir.parent):
                _remove_empty(folder)
        self._closing.close()

    def _prepare(self) -> None:
        """Make room for what is written. Nobody else is here."""
        # Another run may have ended in between.
        self._old = self._check()
        try:
            for leftover in self.path.glob(f"{_SCRATCH_PREFIX}*/"):
                shutil.rmtree(leftover, ignore_errors=True)
            self.log_dir.mkdir(parents=True, exist_ok=True)
            for old in self.log_dir.glob("*_node.log"):
                old.unlink()
            self._scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH_PREFIX, dir=self.path))
            for name in ("new", f"old/{LOG}"):
                (self._scratch / name).mkdir(parents=True)
        except OSError as error:
            raise InputError(f"--out {self.path} cannot be written: {error.strerror}") from error

    def _check(self) -> list[str]:
        """Names of an earlier run's results.

        Raises:
            InputError: the folder is a file, or a file in it has a result's name and is none.
        """
        if not self.path.exists():
            return []
        if not self.path.is_dir():
            raise InputError(f"--out {self.path} cannot be made a folder: it is a file")
        found = [
            str(path.relative_to(self.path))
            for pattern in _RESULTS
            for path in self.path.glob(pattern)
        ]
        own = _listed(self.path / METRICS)
        for name in found:
            if not any(fnmatch(name, pattern) for pattern in own):
                raise InputError(
                    f"--out: {self.path / name} was not written by an earlier demo and is not "
                    "replaced; move it away, or choose another --out"
                )
        return found

    def _check_apart(self, played: Path) -> None:
        """Refuse an input that lies in what the run replaces, or where it writes."""
        inside = played.resolve()
        replaced = [*self._old, UNFINISHED_LOG, _LOCK]
        if inside == self.path.resolve():
            raise InputError(f"--out {self.path} is the input itself; choose another --out")
        for path in (self.path / name for name in replaced):
            same = path.exists() and played.exists() and path.samefile(played)
            if same or path.resolve() in inside.parents:
                raise InputError(
                    f"the input {played} is what --out {self.path} would replace; move it away, "
                    "or choose another --out"
                )


def _listed(metrics: Path) -> Sequence[str]:
    """What an earlier run says that it wrote; nothing where metrics.json is somebody else's."""
    try:
        numbers: Any = json.loads(metrics.read_bytes())
    except (OSError, ValueError):
        return ()
    if not isinstance(numbers, dict) or not numbers.keys() >= _EARLIER:
        return ()
    files = numbers.get(_FILES)
    return [str(name) for name in files] if isinstance(files, list) else _RESULTS


def _move(source: Path, target: Path, moved: list[tuple[Path, Path]]) -> None:
    os.replace(source, target)
    moved.append((source, target))


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
