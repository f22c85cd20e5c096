"""Progress bars and warnings for the person at the terminal, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from dino_foresight_ros.closeable import Closeable


class Progress(Closeable):
    """A bar with the time left; in a log file a line every few seconds."""

    def __init__(
        self,
        name: str,
        unit: str,
        total: int | None = None,
        shown: bool = True,
        done: int = 0,
        passing: bool = False,
    ) -> None:
        """Start.

        Args:
            name: at the left of the bar.
            unit: what is counted, such as "frame".
            total: where the bar ends; None: not known (yet).
            shown: False counts without a bar.
            done: where the bar starts.
            passing: show it after a second, and leave nothing of it behind.
        """
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=name,
            unit=unit,
            file=sys.stderr,
            disable=not shown,
            leave=not passing,
            delay=1 if passing else 0,
            dynamic_ncols=on_terminal,
            # In a log file each refresh is a line that stays.
            mininterval=0.2 if on_terminal else 5.0,
        )

    def add(self, count: int = 1) -> None:
        """Move on by so many."""
        self._bar.update(count)

    def show(self, done: int, total: int | None = None, note: str = "") -> None:
        """Bring the bar to `done`, of `total` where that is known, with a note behind it."""
        if total is not None:
            self._bar.total = total
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    started_s = time.monotonic()
    print(f"{what} ... ", end="", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        print(file=sys.stderr, flush=True)
        raise
    print(f"ready after {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Tell of something that does not stop the command, without breaking a bar."""
    with tqdm.external_write_mode(file=sys.stderr):
        print(f"foresight: warning: {text}", file=sys.stderr, flush=True)
