"""Threads that share the pieces of one piece of work, such as the heads of one forecast."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

T = TypeVar("T")

_THREAD_NAME = "foresight-piece"


class Threads:
    """Computes independent pieces side by side, in the caller's thread and in others.

    The operations of a small model are too short to be split over CPU cores one by one: handing
    their parts out takes longer than computing them. Whole heads and whole horizons are not.
    """

    def __init__(self, count: int = 1) -> None:
        """Prepare.

        Args:
            count: of threads, the caller's among them; with 1, all is done in that.
        """
        self.count = max(1, count)
        self._pool: ThreadPoolExecutor | None = None
        if self.count > 1:
            self._pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix=_THREAD_NAME)
        self._is_inside = threading.local()
        self._beside: Future[None] | None = None

    @property
    def available(self) -> int:
        """How many the caller may use, its own among them; only that within `run` and beside it."""
        return 1 if getattr(self._is_inside, "value", False) else self.count

    def spans(self, count: int, least: int = 1) -> list[slice]:
        """The parts of so many things that threads take, one each: of the first the fewest.

        Args:
            count: how many things there are.
            least: a thread takes no fewer, unless one takes all.
        """
        parts = max(1, min(self.available, count // least))
        ends = [k * count // parts for k in range(parts + 1)]
        return [slice(*ends[k : k + 2]) for k in range(parts)]

    def run(
        self, pieces: Sequence[Callable[[], T]], beside: Callable[[], None] | None = None
    ) -> list[T]:
        """What each piece gives, in their order, in inference mode.

        A piece may itself ask for pieces; those are done in its own thread.

        Args:
            pieces: do not depend on each other.
            beside: begun by the first thread that has no piece to do, and not waited for here but
                by `wait`, before which no pieces may be run. Left out where there is one thread.

        Raises:
            Exception: of a piece that failed, the caller's own first, once none is at work.
        """
        if self._pool is None or self.available < 2 or (len(pieces) < 2 and beside is None):
            with torch.inference_mode():
                return [piece() for piece in pieces]
        left = deque(enumerate(pieces))
        found: list[Any] = [None] * len(pieces)

        def take() -> None:
            try:
                while left:
                    try:
                        index, piece = left.popleft()
                    except IndexError:  # another thread was faster
                        return
                    found[index] = piece()
            except BaseException:
                left.clear()
                raise

        helpers = min(self.count, len(pieces)) - 1
        others = [self._pool.submit(self._inside, take) for _ in range(helpers)]
        if beside is not None and self._beside is None:  # not again where pieces are tried again
            self._beside = self._pool.submit(self._inside, beside)
        try:
            self._inside(take)
        finally:
            wait(others)
        for other in others:
            other.result()
        return found

    def _inside(self, work: Callable[[], None]) -> None:
        self._is_inside.value = True
        try:
            with torch.inference_mode():
                work()
        finally:
            self._is_inside.value = False

    def wait(self) -> None:
        """Wait for what was begun beside pieces, if anything was.

        Raises:
            Exception: what that raised.
        """
        begun, self._beside = self._beside, None
        if begun is not None:
            begun.result()
