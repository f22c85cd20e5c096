"""The demo's progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from dino_foresight_ros.demo.seen import Seen


class Progress:
    """Frames that came in, and forecasts that came out."""

    def __init__(self, name: str, frame_count: int | None) -> None:
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=frame_count,
            desc=name,
            unit="frame",
            file=sys.stderr,
            dynamic_ncols=on_terminal,
            # In a log file each refresh is a line that stays.
            mininterval=0.2 if on_terminal else 5.0,
        )

    def show(self, seen: Seen) -> None:
        """Bring the bar up to what was seen."""
        text = f"{seen.forecasts} forecasts"
        if seen.newest_latency_ms is not None:
            text += f", {seen.newest_latency_ms:.0f} ms"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(seen.frames - self._bar.n)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()

    @staticmethod
    @contextmanager
    def telling(what: str) -> Iterator[None]:
        """Tell what is being done, and how long it took."""
        started_s = time.monotonic()
        print(f"{what} ... ", end="", file=sys.stderr, flush=True)
        try:
            yield
        except BaseException:
            print(file=sys.stderr, flush=True)
            raise
        print(f"ready after {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)
