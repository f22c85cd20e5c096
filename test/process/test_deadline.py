"""A process ends in time, whatever it is stuck in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# A call that keeps the interpreter's lock, as one into a middleware that waits for ever.
STUCK = """
import ctypes, sys
from dino_foresight_ros.process.deadline import exit_after
with exit_after(0.2, 7):
    ctypes.PyDLL(None).sleep(600)
"""
IN_TIME = """
import time
from dino_foresight_ros.process.deadline import exit_after
with exit_after(0.2, 7):
    pass
time.sleep(0.5)
"""


# A body that takes longer than the limit, and comes to its end.
LATE = IN_TIME.replace("pass", "time.sleep(0.5)")
UNSET = """
import ctypes
from types import SimpleNamespace
library = ctypes.CDLL(None)
parts = ("timer_create", "timer_delete", "_exit")
fake = SimpleNamespace(**{name: getattr(library, name) for name in parts})
fake.timer_settime = lambda *_: -1
ctypes.CDLL = lambda _: fake
"""
OTHER_SYSTEM = """
import sys
sys.platform = "freebsd14"
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the timers are Linux's")
def test_process_that_is_stuck_in_native_code_says_where_and_ends_with_the_code() -> None:
    ended = run(STUCK)
    assert ended.returncode == 7
    assert 'File "<string>", line 5 in <module>' in ended.stderr


def test_body_that_ends_in_time_leaves_the_process_alone() -> None:
    ended = run(IN_TIME)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the timers are Linux's")
def test_what_the_body_raises_is_raised_and_nothing_ends_later() -> None:
    ended = run(IN_TIME.replace("pass", "raise SystemExit(3)"))
    assert (ended.returncode, ended.stderr) == (3, "")


@pytest.mark.skipif(sys.platform != "linux", reason="the timers are Linux's")
def test_what_was_printed_before_is_not_lost() -> None:
    ended = run("print('done', end='')" + STUCK)
    assert (ended.returncode, ended.stdout) == (7, "done")


@pytest.mark.skipif(sys.platform != "linux", reason="the timers are Linux's")
@pytest.mark.parametrize("circumstances", [UNSET, OTHER_SYSTEM], ids=["unset", "other system"])
def test_nothing_is_limited_nor_told_where_no_timer_can_be_set(circumstances: str) -> None:
    ended = run(circumstances + LATE)
    assert (ended.returncode, ended.stderr) == (0, "")
