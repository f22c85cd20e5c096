"""Run a command that dies with the process that started it, even when that one is killed.

Used as `python die_with_parent.py PARENT_PID COMMAND ARGS...`. It stands alone (standard library
only), so that it starts in a moment, and replaces itself by the command.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        # Kept across exec. SIGTERM, which the nodes end cleanly on.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
