"""Plays recorded items at their own pace."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
MAX_LAG_S = 1.0


class Pacer:
    """Maps media time to monotonic time: each instant is due relative to the first one.

    Nothing accumulates, so playing does not drift. After falling behind by more than a second
    (a stall, or an input slower than its rate) the pacer starts over from the present instead of
    sending a burst, and counts that in `restarts`.
    """

    def __init__(self, rate: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._monotonic_s = monotonic_s
        self._anchor: tuple[float, int] | None = None
        self.restarts = 0

    def rewind(self) -> None:
        """Take the next instant for the present: a new round begins."""
        self._anchor = None

    def wait_s(self, time_ns: int) -> float:
        """Return the seconds until media time `time_ns` is due, 0 or less when it is."""
        now_s = self._monotonic_s()
        if self._anchor is None:
            self._anchor = (now_s, time_ns)
        start_s, start_ns = self._anchor
        wait_s = start_s + (time_ns - start_ns) * 1e-9 / self._rate - now_s
        if wait_s < -MAX_LAG_S:
            self._anchor = (now_s, time_ns)
            self.restarts += 1
            return 0.0
        return wait_s

    def media_time_ns(self, time_ns: int, wait_s: float) -> int:
        """Return the media time `wait_s` seconds before `time_ns` is due."""
        return time_ns - round(max(0.0, wait_s) * self._rate * 1e9)


class ReadAhead(Iterator[T]):
    """Runs an iterator in a thread, `depth` items ahead; its errors come out where it is read."""

    def __init__(self, items: Iterator[T], depth: int = 4) -> None:
        self._queue: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(items,), name="foresight-read-ahead", daemon=True
        )
        self._thread.start()

    def _run(self, items: Iterator[T]) -> None:
        end: BaseException = StopIteration()
        try:
            for item in items:
                self._put((item, None))
                if self._stop.is_set():
                    break
        except Exception as error:  # noqa: BLE001 - handed on to the reader
            end = error
        finally:
            # Here, because what an iterator holds open may belong to this thread.
            close = getattr(items, "close", None)
            if close is not None:
                with suppress(Exception):
                    close()
        self._put((None, end))

    def _put(self, entry: tuple[T | None, BaseException | None]) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(entry, timeout=0.1)
                return

    def __next__(self) -> T:
        while not self._stop.is_set():
            try:
                item, end = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if end is not None:
                self.close()
                raise end
            return item  # type: ignore[return-value]
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and forget what it read; safe from any thread."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)
