"""How long the demo waits for its nodes, and what it tells meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dino_foresight_ros.demo.processes import NodeFailedError
from dino_foresight_ros.demo.run_statistics import RunStatistics
from dino_foresight_ros.progress import warn

# What the demo waits for and nothing happens meanwhile. Loading a large bundle from a slow disk or
# a hub is more than nothing: the node uses the CPU.
WAIT_LIMIT_S = 60.0
LOADING_LIMIT_S = 600.0
# Of the CPU; what a node that only waits uses in a minute is less.
_WORK_S = 1.0


class IdleWatch:
    """Tells for how long a process has done nothing, by the CPU that it uses."""

    def __init__(self, now_s: float) -> None:
        self._worked_s, self._cpu_s = now_s, 0.0

    def seconds(self, now_s: float, cpu_s: float) -> float:
        """Seconds since it last worked; told often, with what it has used of the CPU so far."""
        if cpu_s - self._cpu_s >= _WORK_S:
            self._cpu_s, self._worked_s = cpu_s, now_s
        return now_s - self._worked_s


class ReadyWait:
    """Says when to give up waiting for the forecast node, and why."""

    def __init__(self, now_s: float) -> None:
        self._started_s, self._idle = now_s, IdleWatch(now_s)
        self._active_s: float | None = None

    def give_up(self, now_s: float, is_active: bool, cpu_s: float) -> str | None:
        """The reason, None to go on.

        Args:
            now_s: time, seconds.
            is_active: whether the node says that it is.
            cpu_s: how much of the CPU it has used.
        """
        if is_active:
            self._active_s = now_s if self._active_s is None else self._active_s
            if now_s - self._active_s > WAIT_LIMIT_S:
                return (
                    f"is active, and for {WAIT_LIMIT_S:.0f} s this process has not heard it: "
                    "processes of this machine cannot talk by the ROS middleware"
                )
            return None
        if self._idle.seconds(now_s, cpu_s) > WAIT_LIMIT_S:
            return f"did nothing for {WAIT_LIMIT_S:.0f} s while it loaded the model"
        if now_s - self._started_s > LOADING_LIMIT_S:
            return f"has not loaded the model in {LOADING_LIMIT_S:.0f} s"
        return None


class PlayWatch:
    """Tells what is amiss while the input plays."""

    def __init__(
        self, player: str, log_dir: Path, rate: float, tell: Callable[[str], object] = warn
    ) -> None:
        """Prepare.

        Args:
            player: name of the node that plays.
            log_dir: where its log is.
            rate: how fast it plays; 1 is as fast as it was recorded.
            tell: takes a warning.
        """
        self.cannot_forecast = ""
        """Why cameras cannot be forecast, as it was told; empty where nothing was."""
        self._player, self._log_dir, self._tell = player, log_dir, tell
        self._pause_s = WAIT_LIMIT_S / min(rate, 1.0)
        self._paused_at_s: float | None = None

    def check(self, now_s: float, statistics: RunStatistics, idle_s: float) -> None:
        """Warn once of what keeps forecasts from coming, and of each long pause.

        Args:
            now_s: time, seconds of `time.monotonic`.
            statistics: what came.
            idle_s: for how long the player has done nothing.

        Raises:
            NodeFailedError: the topics cannot be read, or the player does not start.
        """
        if statistics.failure is not None:
            raise NodeFailedError(f"the demo cannot read the topics: {statistics.failure}")
        why = statistics.diagnostics.get("cannot_forecast", "")
        if why and not self.cannot_forecast:
            self.cannot_forecast = why
            self._tell(f"forecast_node: {why}")
        last_s = statistics.last_frame_s
        if last_s is None:
            # It may be rendering ahead.
            if idle_s > WAIT_LIMIT_S:
                raise NodeFailedError(
                    f"{self._player} gave no frame in {WAIT_LIMIT_S:.0f} s (log: {self._log_dir})"
                )
        elif now_s - last_s > self._pause_s and self._paused_at_s != last_s:
            # A recording may pause for as long as it likes; the player plays the pause as well.
            self._paused_at_s = last_s
            self._tell(
                f"{self._player} has given no frame for {now_s - last_s:.0f} s; waiting for the "
                f"next one (log: {self._log_dir}; Ctrl-C ends it)"
            )
