"""What a running forecast node is told from outside: its services, its limits and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.clock import ClockChange, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.ros.parameters import Parameters
from dino_foresight_ros.ros.rate_limit import RateLimit

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.scheduler import Scheduler

LOG_PERIOD_S = 10.0
MIN_JUMP_BACK_S = 1.0
_NO_CHANGE = (ClockChange.ROS_TIME_NO_CHANGE, ClockChange.SYSTEM_TIME_NO_CHANGE)
_EARLY = 0.5
"""How much earlier than due, in periods, a camera's frame may go with those of the others."""


class FrameGate:
    """Decides which frames are worth forecasting: the switch and the rate limit of a node."""

    def __init__(self) -> None:
        """Let everything through."""
        self.is_enabled = True
        self.same_instant_ns = 0
        """Stamps of several cameras this close together count as one instant."""
        self._max_rate_hz = 0.0
        self._limits: dict[str, RateLimit] = {}
        self._instant_ns = 0
        self._decided: set[str] = set()  # cameras whose frame of that instant was decided on
        self._holds = False

    @property
    def max_rate_hz(self) -> float:
        """Most frames per second and camera that are let through; 0 sets no limit."""
        return self._max_rate_hz

    @max_rate_hz.setter
    def max_rate_hz(self, value: float) -> None:
        self._max_rate_hz = value
        for limit in self._limits.values():
            limit.max_rate_hz = value

    def holds_back(self, camera: str, stamp_ns: int, now_s: float) -> bool:
        """Whether the rate limit leaves a frame to the context.

        Frames of several cameras that belong to one instant pass or stay together.

        Args:
            camera: which one took it.
            stamp_ns: its stamp.
            now_s: seconds of a clock that runs, whatever stamps do.
        """
        if self.max_rate_hz <= 0.0:
            return False
        limit = self._limits.setdefault(camera, RateLimit(self.max_rate_hz))
        near = abs(stamp_ns - self._instant_ns) <= self.same_instant_ns
        joins = near and bool(self._decided) and camera not in self._decided
        if joins and not self._holds:  # with the others, as long as that suits its own rate
            self._decided.add(camera)
            return not limit.allows(now_s, early=_EARLY)
        if joins and not limit.is_overdue(now_s):
            self._decided.add(camera)
            return True
        self._instant_ns, self._decided = stamp_ns, {camera}
        self._holds = not limit.allows(now_s)
        return self._holds


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


class ForecastControl:
    """Answers ~/reset and ~/set_enabled, keeps the limits, and watches the clock."""

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        active_scheduler: Callable[[], Scheduler | None],
    ) -> None:
        """Offer the services and watch the clock.

        Args:
            node: the node that all of it belongs to.
            parameters: the node's.
            active_scheduler: gives the scheduler that takes frames now, None while there is none.
        """
        self._node, self._parameters, self._active_scheduler = node, parameters, active_scheduler
        self.gate = FrameGate()
        self.apply()
        node.create_service(Trigger, "~/reset", self._on_reset)
        node.create_service(SetBool, "~/set_enabled", self._on_set_enabled)
        self._clock = ClockWatch(node, self._on_clock_jump)

    def apply(self) -> None:
        """Take the limits from the parameters."""
        self.gate.max_rate_hz = self._parameters["max_rate_hz"]
        several = bool(self._parameters["cameras"])
        tolerance_s = self._parameters["sync_tolerance_s"] if several else 0.0
        self.gate.same_instant_ns = round(tolerance_s * 1e9)

    def close(self) -> None:
        """Stop watching the clock."""
        self._clock.close()

    def check(self) -> None:
        """To be called now and then: warn of a /clock that does not run."""
        warning = self._clock.check(time.monotonic(), self._parameters["stream_timeout_s"])
        if warning is not None:
            self._node.get_logger().warning(warning)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        scheduler = self._active_scheduler()
        if scheduler is None:
            response.success = False
            response.message = "nothing to reset: the node is not active"
            return response
        of_several = [f"{camera} {state}" for camera, state in scheduler.contexts.items() if camera]
        context = ", ".join(sorted(of_several)) or scheduler.context_state
        waiting = scheduler.reset()
        response.success = True
        response.message = f"dropped the context ({context}) and {waiting} waiting frames"
        self._node.get_logger().info(f"reset: {response.message}")
        return response

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        enabled, response.success = request.data, True
        if enabled == self.gate.is_enabled:
            response.message = "was enabled already" if enabled else "was paused already"
            return response
        self.gate.is_enabled = enabled
        scheduler = self._active_scheduler()
        waiting = 0
        if not enabled and scheduler is not None:
            waiting = scheduler.discard(DropReason.DISABLED)
        response.message = (
            "enabled" if enabled else f"paused; {waiting} waiting frames were dropped"
        )
        self._node.get_logger().info(response.message)
        return response

    def _on_clock_jump(self, text: str) -> None:
        scheduler = self._active_scheduler()
        if scheduler is not None:
            scheduler.reset()
            text += "; the context starts anew"
        self._node.get_logger().warning(text, throttle_duration_sec=LOG_PERIOD_S)
