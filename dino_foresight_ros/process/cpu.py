"""How this process uses the CPU and its memory; to be settled before torch is first imported."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

# Of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
"""What glibc takes at most."""
_KEPT_BYTES = 512 << 20


def set_up_cpu() -> None:
    """Let threads share the cores, and freed memory stay at hand."""
    _share_cores()
    _keep_freed_memory()


def _share_cores() -> None:
    """Let torch's CPU threads sleep while they wait, unless OMP_WAIT_POLICY says otherwise.

    By default they spin. On cores that other processes want too (a camera driver, a recorder,
    DDS), a spinning thread keeps the very thread it waits for from running: on two busy cores the
    90th percentile of a live update went from 0.2 s to 1.9 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _keep_freed_memory() -> None:
    """Let glibc hand freed pieces out again, where they would go back to the system at once.

    A model's intermediate tensors are freed and wanted again all the time; fetching their pages
    from the system anew can take longer than what is computed in them (benchmark/README.md).
    `memory.give_back_memory` returns what is kept. Does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def used_cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 where that is not known."""
    try:
        # The name in parentheses may hold spaces. proc(5): utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


def cpu_name() -> str:
    """Model of the CPU, or else the machine's architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith(("model name", "hardware")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()  # `platform.processor` may start a process, and says no more
