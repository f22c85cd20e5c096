"""What a run tells while it goes on: progress, a file of numbers, and Lightning's loggers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.progress import Progress

HISTORY = "history.jsonl"


class RunLog:
    """Reports of the main process; silent in the others."""

    def __init__(
        self,
        folder: Path,
        name: str,
        is_main: bool,
        first_step: int = 0,
        loggers: Collection[str] = (),
    ) -> None:
        """Open the logs; what an interrupted run wrote from `first_step` on is dropped.

        Args:
            folder: the run's.
            name: what the bar is called.
            is_main: whether to report at all.
            first_step: number of the first step that will be reported.
            loggers: besides history.jsonl; of "tensorboard", "csv" and "wandb".

        Raises:
            UsageError: a logger that is not installed.
            ForesightError: the folder cannot be written.
        """
        self.folder, self.is_main = folder, is_main
        self._name, self._note = name, ""
        self._progress: Progress | None = None
        if not is_main:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _drop_from(folder / HISTORY, first_step)
            self._history = (folder / HISTORY).open("a")
            self._loggers = [_open_logger(kind, folder, name, first_step) for kind in loggers]
        except OSError as error:
            raise ForesightError(f"{folder} cannot be written: {error}") from error

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
            for logger in self._loggers:
                logger.log_metrics({f"{kind}/{name}": v for name, v in values.items()}, step)
        except OSError as error:
            raise ForesightError(f"{self.folder} cannot be written: {error}") from error

    def progress(self, used: float, step: int, loss: float, step_s: float) -> None:
        """Show how much of the budget is used, 0 to 1; cheap enough for every step."""
        if not self.is_main:
            return
        percent = int(100 * used)
        if self._progress is None:
            # The first step warms up; its pace says little.
            self._progress = Progress(self._name, "%", 100, done=percent)
        note = f"step {step}, loss {loss:.4f}{self._note}, {step_s:.2f} s/step"
        self._progress.show(percent, note=note)

    def note(self, text: str) -> None:
        """Set what the bar shows beside the loss (the newest validation)."""
        self._note = f", {text}"

    def close(self) -> None:
        """Finish bar and files; a disk that is full by now has been reported already."""
        if not self.is_main:
            return
        if self._progress is not None:
            self._progress.close()
        closing = [self._history.close, *(logger.finalize for logger in self._loggers)]
        for close, words in zip(closing, [(), *[("success",)] * len(self._loggers)], strict=True):
            try:
                close(*words)
            except OSError:
                continue


def _open_logger(kind: str, folder: Path, name: str, first_step: int) -> Any:
    from lightning_fabric.loggers.csv_logs import CSVLogger
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    if kind == "tensorboard":
        return TensorBoardLogger(folder, "tensorboard", version="", purge_step=first_step)
    if kind == "csv":
        return CSVLogger(folder, "csv")
    return WandbLogger(folder, name)


class WandbLogger:
    """Weights & Biases, with the methods of Lightning's loggers; a resumed run goes on there."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise UsageError(
                "--loggers wandb needs wandb: pip install 'dino_foresight_ros[wandb]'"
            ) from error
        place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project="dino_foresight_ros", name=f"{name} {folder.name}", dir=folder, id=place,
            resume="allow",
        )  # fmt: skip

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        """End the run."""
        self._run.finish()


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
