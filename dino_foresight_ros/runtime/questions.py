"""Questions that are answered beside the frames, in the same thread, a part at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from dino_foresight_ros.errors import InputError

T = TypeVar("T")

MAX_WAITING = 8
"""So many questions wait at most."""


class _Question(NamedTuple):
    """Work that was asked for, and where its answer goes."""

    parts: Generator[None, None, Any]
    answer: Future[Any]


class Questions:
    """Questions in the order in which they were asked.

    `work` is called in one thread, all else from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Question] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, parts: Generator[None, None, T]) -> Future[T]:
        """Add a question.

        Args:
            parts: yields after each part; what it returns or raises is the answer.

        Raises:
            InputError: too many questions wait.
        """
        answer: Future[T] = Future()
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                raise InputError(
                    f"{MAX_WAITING} requests wait already; send the next one after an answer"
                )
            self._waiting.append(_Question(parts, answer))
        return answer

    def work(self) -> None:
        """Work at one part of the question that was asked first."""
        with self._lock:
            question = self._waiting[0] if self._waiting else None
        if question is None:
            return
        try:
            next(question.parts)
            return
        except StopIteration as end:
            answer, error = end.value, None
        except Exception as raised:  # noqa: BLE001 - a bad question must not end the thread
            answer, error = None, raised
        with self._lock:
            if not self._waiting or self._waiting[0] is not question:
                return  # given up meanwhile, and answered so
            self._waiting.popleft()
        if not question.answer.set_running_or_notify_cancel():
            return
        if error is None:
            question.answer.set_result(answer)
        else:
            question.answer.set_exception(error)

    def give_up(self, why: str) -> None:
        """Answer all that wait with an InputError."""
        with self._lock:
            given_up, self._waiting = self._waiting, deque()
        for question in given_up:
            if question.answer.set_running_or_notify_cancel():
                question.answer.set_exception(InputError(why))
