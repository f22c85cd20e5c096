"""Signals that ask a run to stop: it ends after the step it is in, with a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dino_foresight_ros.errors import ForesightError

STOP_SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))
"""What asks a run to stop after the step it is in."""


class StoppedBySignalError(ForesightError):
    """A run that a signal stopped after a step, with a checkpoint."""

    def __init__(self, text: str, signal_number: int) -> None:
        super().__init__(text)
        self.exit_code = 128 + signal_number


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second SIGINT interrupts at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if number in asked and number == signal.SIGINT and not _has_launcher():
            raise KeyboardInterrupt
        asked.append(number)

    before: dict[int, Any] = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_launcher() -> bool:
    """Whether torchrun started this process: it passes on the Ctrl-C that the terminal sent too."""
    return "TORCHELASTIC_RUN_ID" in os.environ
