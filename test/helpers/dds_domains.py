"""DDS domains, each for one test module of this machine at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Above 101 the ports of a domain run into those that Linux hands out to everybody.
DOMAINS = range(20, 102)


@contextmanager
def claimed_domain() -> Iterator[int]:
    """Claim a DDS domain that no other test process of this machine uses.

    It is the one that was left longest ago: a process that was killed stays in its peers' graphs
    for a while.

    Raises:
        RuntimeError: every domain is in use.
    """
    for lock in sorted(map(_lock_of, DOMAINS), key=_left_at_ns):
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            try:
                yield int(lock.stem.rpartition("_")[2])
            finally:
                now_ns = time.time_ns()  # the kernel's own stamps are milliseconds coarse
                os.utime(lock, ns=(now_ns, now_ns))
            return
    raise RuntimeError("every DDS domain is in use by another test process")


def _lock_of(domain: int) -> Path:
    return Path(tempfile.gettempdir(), f"foresight_test_domain_{os.getuid()}_{domain}.lock")


def _left_at_ns(lock: Path) -> int:
    return lock.stat().st_mtime_ns if lock.exists() else 0
