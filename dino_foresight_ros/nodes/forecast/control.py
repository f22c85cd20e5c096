"""What a running forecast node is told from outside: its services, its limits and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.node import Node

from dino_foresight_ros.nodes.forecast.clock_watch import ClockWatch
from dino_foresight_ros.nodes.forecast.control_services import Answer, ControlServices
from dino_foresight_ros.nodes.forecast.frame_gate import FrameGate
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.ros.parameters import Parameters
from dino_foresight_ros.ros.time import stamp_problem, time_to_ns

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.mailbox import Frame
    from dino_foresight_ros.runtime.worker import ForecastWorker

LOG_PERIOD_S = 10.0
# No stream is that late; a recording played without its clock is.
_RECORDING_AGE_S = 3600.0


class ForecastControl:
    """Stands between the subscriptions and the worker, and answers ~/reset and ~/set_enabled."""

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        active_worker: Callable[[], ForecastWorker | None],
    ) -> None:
        """Offer the services and watch the clock.

        Args:
            node: the node that all of it belongs to.
            parameters: the node's.
            active_worker: gives the worker that takes frames now, None while there is none.
        """
        self._node, self._parameters, self._active_worker = node, parameters, active_worker
        self.gate = FrameGate(lambda: int(node.get_clock().now().nanoseconds))
        self.apply()
        ControlServices(node, self._reset, self._set_enabled)
        self._clock = ClockWatch(node, self._on_clock_jump)

    def apply(self) -> None:
        """Take the limits from the parameters."""
        self.gate.max_rate_hz = self._parameters["max_rate_hz"]
        self.gate.max_age_ms = self._parameters["max_age_ms"]
        several = bool(self._parameters["cameras"])
        tolerance_s = self._parameters["sync_tolerance_s"] if several else 0.0
        self.gate.same_instant_ns = round(tolerance_s * 1e9)

    def close(self) -> None:
        """Stop watching the clock."""
        self._clock.close()

    def hand_over(self, worker: ForecastWorker, camera: str, message: Any) -> None:
        """Give the worker an image that came in, for what it is good for."""
        stamp_ns = time_to_ns(message.header.stamp)
        refusal = (
            stamp_problem(message.header.stamp) if self.gate.is_enabled else DropReason.DISABLED
        )
        if refusal is not None:
            worker.refuse(message, stamp_ns, refusal, camera)
        elif self.gate.holds_back(camera, stamp_ns, time.monotonic()):
            worker.offer(message, stamp_ns, DropReason.RATE_LIMITED, camera)
        else:
            worker.submit(message, stamp_ns, camera)

    def too_old(self, frame: Frame) -> bool:
        """Whether a frame is too old to be worth forecasting; said now and then."""
        if not self.gate.too_old(frame.stamp_ns):
            return False
        age_s = self.gate.age_s(frame.stamp_ns)
        hint = (
            "; if this is a recording, play it with its clock (ros2 bag play --clock) and set "
            "use_sim_time to true"
            if age_s > _RECORDING_AGE_S
            else ""
        )
        self._node.get_logger().warning(
            f"a frame was {age_s:.3g} s old when its turn came, more than max_age_ms allows "
            f"({self.gate.max_age_ms:g} ms); such frames are not forecast{hint}",
            throttle_duration_sec=LOG_PERIOD_S,
        )
        return True

    def check(self) -> None:
        """To be called now and then: warn of a /clock that does not run."""
        warning = self._clock.check(time.monotonic(), self._parameters["stream_timeout_s"])
        if warning is not None:
            self._node.get_logger().warning(warning)

    def _reset(self) -> Answer:
        worker = self._active_worker()
        if worker is None:
            return Answer(False, "nothing to reset: the node is not active")
        of_several = [f"{camera} {state}" for camera, state in worker.context_of.items() if camera]
        context = ", ".join(sorted(of_several)) or worker.context_state
        waiting = worker.reset()
        text = f"dropped the context ({context}) and {waiting} waiting frames"
        self._node.get_logger().info(f"reset: {text}")
        return Answer(True, text)

    def _set_enabled(self, enabled: bool) -> Answer:
        if enabled == self.gate.is_enabled:
            return Answer(True, "was enabled already" if enabled else "was paused already")
        self.gate.is_enabled = enabled
        worker = self._active_worker()
        waiting = 0 if enabled or worker is None else worker.discard(DropReason.DISABLED)
        text = "enabled" if enabled else f"paused; {waiting} waiting frames were dropped"
        self._node.get_logger().info(text)
        return Answer(True, text)

    def _on_clock_jump(self, text: str) -> None:
        worker = self._active_worker()
        if worker is not None:
            worker.reset()
            text += "; the context starts anew"
        self._node.get_logger().warning(text, throttle_duration_sec=LOG_PERIOD_S)
