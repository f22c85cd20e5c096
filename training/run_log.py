"""What a run tells while it goes on: a bar or lines, TensorBoard, and a file of numbers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError

HISTORY = "history.jsonl"
LINE_EVERY_S = 30.0


class RunLog:
    """Reports of the main process; silent in the others."""

    def __init__(self, folder: Path, name: str, is_main: bool, first_step: int = 0) -> None:
        """Open the logs; what an interrupted run wrote from `first_step` on is dropped.

        Args:
            folder: the run's.
            name: what the bar is called.
            is_main: whether to report at all.
            first_step: number of the first step that will be reported.

        Raises:
            ForesightError: the folder cannot be written.
        """
        self.folder, self.is_main = folder, is_main
        self._bar: Any = None
        self._tensorboard: Any = None
        self._next_line = 0.0
        self._start = time.monotonic()
        self._first_share: float | None = None
        self._note = ""
        if not is_main:
            return
        from torch.utils.tensorboard import SummaryWriter

        try:
            folder.mkdir(parents=True, exist_ok=True)
            _drop_from(folder / HISTORY, first_step)
            self._history = (folder / HISTORY).open("a")
            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
        except OSError as error:
            raise ForesightError(f"{folder} cannot be written: {error}") from error
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=100.0, desc=name, bar_format="{desc} {percentage:5.1f} %|{bar}|{postfix}"
            )

    def values(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Keep numbers of one step; `kind` is "train" or "validation".

        Raises:
            ForesightError: the disk is full.
        """
        if not self.is_main:
            return
        try:
            self._history.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            self._history.flush()
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{kind}/{name}", value, step)
        except OSError as error:
            raise ForesightError(f"{self.folder} cannot be written: {error}") from error

    def progress(self, share: float, step: int, loss: float, step_s: float) -> None:
        """Show how far the run is, 0 to 1, and when it will end; cheap enough for every step."""
        if not self.is_main:
            return
        now = time.monotonic()
        if self._first_share is None:
            # The first step warms up; its pace says little.
            self._first_share, self._start = share, now
        if self._bar is None and now < self._next_line and share < 1:
            return
        done = share - self._first_share
        left = _clock((now - self._start) * (1 - share) / done) if done > 0 else "?"
        text = f"step {step}, loss {loss:.4f}{self._note}, {step_s:.2f} s/step, {left} left"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.n = 100 * share
            self._bar.update(0)
        else:
            self._next_line = now + LINE_EVERY_S
            print(f"{100 * share:5.1f} %  {text}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Set what the bar shows beside the loss (the newest validation)."""
        self._note = f", {text}"

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if not self.is_main:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Finish bar and files; a disk that is full by now has been reported already."""
        if not self.is_main:
            return
        if self._bar is not None:
            self._bar.close()
        for file in (self._history, self._tensorboard):
            try:
                file.close()
            except OSError:
                continue


def _drop_from(path: Path, step: int) -> None:
    if not path.is_file():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    scratch = path.with_name(f".{path.name}")
    scratch.write_text("".join(f"{line}\n" for line in kept))
    scratch.replace(path)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, from when the process was killed


def read_history(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Numbers that a run kept, in order; `kind` as in `RunLog.values`."""
    lines = (folder / HISTORY).read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
