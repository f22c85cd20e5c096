"""The thread that the engine works in."""

from __future__ import annotations

import threading

from dino_foresight_ros.runtime.scheduler import Scheduler

THREAD_NAME = "foresight-worker"


class Worker:
    """Runs a scheduler in a thread of its own; may be started again after it was stopped."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start taking frames, with an empty context."""
        with self._lock:
            self._scheduler.start()
            if self._thread is not None:  # still in a pass that outlasted `stop`: it goes on
                return
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Stop, giving up the waiting frames and the one in work.

        Returns:
            False when a forward pass outlasts the timeout; its thread ends after that pass.
        """
        thread = self._thread
        self._scheduler.stop()
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            self._scheduler.run()
            with self._lock:
                if not self._scheduler.is_running:  # not started again meanwhile
                    self._thread = None
                    return
