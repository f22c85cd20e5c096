"""A progress bar with the time left, on stderr."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Counts towards a total; in a log file a line every few seconds."""

    def __init__(self, name: str, unit: str, total: int | None = None) -> None:
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            desc=name,
            unit=unit,
            file=sys.stderr,
            dynamic_ncols=on_terminal,
            mininterval=0.2 if on_terminal else 10.0,
        )

    def show(self, done: int, total: int) -> None:
        """Bring the bar to `done` of `total`."""
        if self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
