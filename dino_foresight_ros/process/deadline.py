"""An end of this process that native code cannot hold up."""

from __future__ import annotations

import ctypes
import faulthandler
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_CLOCK_MONOTONIC = 1
_SIGEV_THREAD = 2
_STDERR = 2


class _Notification(ctypes.Structure):
    """struct sigevent of Linux (sigevent(7)): which function a timer calls, with what."""

    _fields_ = (
        ("value", ctypes.c_size_t),
        ("number", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("rest", ctypes.c_char * 40),
    )


class _Times(ctypes.Structure):
    """struct itimerspec: the period and the time until the first call."""

    _fields_ = tuple(
        (name, ctypes.c_long) for name in ("period_s", "period_ns", "first_s", "first_ns")
    )


@contextmanager
def exit_after(limit_s: float, exit_code: int) -> Iterator[None]:
    """End the process at once where the body takes longer, saying on stderr where it is.

    Native code that does not come back may hold the interpreter's lock, and then no signal is
    handled and no thread of Python's runs. So the C library's timer calls its `_exit`. What was
    printed before is flushed first, as `_exit` would drop it. Where there are no such timers (not
    Linux), or none can be set, nothing is limited.

    Args:
        limit_s: seconds.
        exit_code: of the process.
    """
    flush_output()
    stop = _start_timer(limit_s, exit_code)
    if stop is None:
        yield
        return
    # Written by a thread that needs no lock, in time before the end.
    faulthandler.dump_traceback_later(0.9 * limit_s, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        stop()


def flush_output() -> None:
    """Write out what was printed, where stdout and stderr still take it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed pipe, a closed stream
            stream.flush()


def _start_timer(limit_s: float, exit_code: int) -> Callable[[], Any] | None:
    """Have the C library end the process; returns what prevents it, None where it cannot."""
    if sys.platform != "linux":  # the structures are Linux's
        return None
    library = ctypes.CDLL(None)
    leave = ctypes.cast(library._exit, ctypes.c_void_p)
    notification = _Notification(exit_code, 0, _SIGEV_THREAD, leave)
    timer = ctypes.c_void_p()
    created = library.timer_create(
        _CLOCK_MONOTONIC, ctypes.byref(notification), ctypes.byref(timer)
    )
    if created != 0:
        return None
    part_s, whole_s = math.modf(limit_s)
    times = _Times(0, 0, int(whole_s), int(part_s * 1e9))
    if library.timer_settime(timer, 0, ctypes.byref(times), None) != 0:
        library.timer_delete(timer)
        return None
    return lambda: library.timer_delete(timer)
