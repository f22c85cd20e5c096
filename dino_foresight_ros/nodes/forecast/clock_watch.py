"""Notices that the node's clock jumps back, changes its source, or does not run."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import ClockChange, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

MIN_JUMP_BACK_S = 1.0
_NO_CHANGE = (ClockChange.ROS_TIME_NO_CHANGE, ClockChange.SYSTEM_TIME_NO_CHANGE)


class ClockWatch:
    """Watches a node's clock, which under use_sim_time is whatever /clock says.

    `on_jump` is called in the executor's thread with what happened, in words.
    """

    def __init__(self, node: Node, on_jump: Callable[[str], None]) -> None:
        self._node = node
        self._on_jump = on_jump
        self._since_s: float | None = None
        self._said = False
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(seconds=-MIN_JUMP_BACK_S), on_clock_change=True
        )
        self._handle = node.get_clock().create_jump_callback(threshold, post_callback=self._jumped)

    def close(self) -> None:
        """Stop watching."""
        self._handle.unregister()

    def _jumped(self, jump: TimeJump) -> None:
        if jump.clock_change in _NO_CHANGE:
            seconds = -jump.delta.nanoseconds / 1e9
            self._on_jump(f"/clock jumped back {seconds:.1f} s (a recording that loops?)")
        elif jump.clock_change == ClockChange.ROS_TIME_ACTIVATED:
            self._on_jump("time comes from /clock from now on (use_sim_time)")
        else:
            self._on_jump("time comes from the system from now on (use_sim_time is off)")

    def check(self, now_s: float, timeout_s: float) -> str | None:
        """What to warn of, once, when use_sim_time waits for a /clock that does not come.

        Args:
            now_s: seconds of a clock that runs.
            timeout_s: how long to wait for it.
        """
        clock = self._node.get_clock()
        if not clock.ros_time_is_active or clock.now().nanoseconds != 0:
            self._since_s, self._said = None, False
            return None
        if self._since_s is None:
            self._since_s = now_s
        if self._said or now_s - self._since_s < timeout_s:
            return None
        self._said = True
        publishers = self._node.count_publishers("/clock")
        reason = "its time stays 0" if publishers else "nobody publishes it"
        return (
            f"use_sim_time is true, but /clock does not run ({reason}): play the recording with "
            "its clock (ros2 bag play --clock), or set use_sim_time to false"
        )
