"""The folder that the demo leaves its results in: all of them complete, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from dino_foresight_ros.errors import InputError

SHEET, SKILL, MOSAIC = "contact_sheet.png", "skill.png", "mosaic.png"
VIDEO, METRICS = "forecast.mp4", "metrics.json"
# Of several cameras, each has a sheet; all of these are replaced by the next run.
_RESULTS = (SHEET, "contact_sheet_*.png", SKILL, MOSAIC, VIDEO, METRICS)
_PARTIAL_PREFIX = ".unfinished-"


class ResultFolder:
    """Results are written in a hidden folder beside their place, and moved there together.

    Entering removes the results of an earlier run, so that they cannot be taken for new ones.
    Leaving without `publish` removes what was written.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder where it does not exist.

        Raises:
            InputError: it cannot be written to.
        """
        self.path = path.expanduser().absolute()
        self.log_dir = self.path / "log"
        try:
            self.log_dir.mkdir(parents=True, exist_ok=True)
            self._partial: Path | None = None
        except OSError as error:
            raise InputError(f"--out {path} cannot be made a folder: {error.strerror}") from error

    def __enter__(self) -> ResultFolder:
        try:
            for leftover in self.path.glob(f"{_PARTIAL_PREFIX}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            for pattern in _RESULTS:
                for old in self.path.glob(pattern):
                    old.unlink()
            for old in self.log_dir.glob("*.log"):
                old.unlink()
            self._partial = Path(tempfile.mkdtemp(prefix=_PARTIAL_PREFIX, dir=self.path))
        except OSError as error:
            raise InputError(f"--out {self.path} cannot be written: {error.strerror}") from error
        return self

    def partial(self, name: str) -> Path:
        """Where to write a result until it is complete."""
        assert self._partial is not None
        return self._partial / name

    def publish(self) -> list[Path]:
        """Move the complete results to their place, the numbers last, and return the paths."""
        assert self._partial is not None
        names = sorted(path.name for path in self._partial.iterdir() if path.name != METRICS)
        names.append(METRICS)
        for name in names:
            os.replace(self.partial(name), self.path / name)
        return [self.path / name for name in names]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._partial is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial = None


def sheet_of(camera: str) -> str:
    """File name of a camera's sheet; that of the only, unnamed one too."""
    return f"contact_sheet_{camera}.png" if camera else SHEET
