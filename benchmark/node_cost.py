"""What forecast_node costs in each of its states: resident memory, and the share of a core.

    python -m dino_foresight_ros.benchmark.node_cost --bundle tiny

The node runs in a process of its own and is taken through its states, while a camera of this
process publishes. Memory is that of the process, CPU time that of all its threads over the time
measured, so 100 % is one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.process.cpu import used_cpu_s
from dino_foresight_ros.process.memory import resident_mb

from .live import camera_messages, node_alone

SIZE = (360, 640)
OUTPUTS = (SEGMENTATION, DEPTH, NORMALS, INSTANCES)
_TRANSITION_S = 180.0
_SETTLE_S = 3.0


class Cost(NamedTuple):
    """Of one state.

    Attributes:
        state: in words.
        resident_mb: memory at the end, MB.
        core_percent: CPU time over the time measured, of one core.
        forecasts_hz: that were received per second; 0 where nobody listens.
    """

    state: str
    resident_mb: float
    core_percent: float
    forecasts_hz: float


class _Peer:
    """A camera that publishes, and whoever listens, in this process."""

    def __init__(self, pid: int, rate_hz: float, seconds: float) -> None:
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from sensor_msgs.msg import Image

        self._pid, self._rate_hz, self._seconds = pid, rate_hz, seconds
        self._context = Context()
        self._context.init()
        self.node = Node("cost_camera", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._publisher = self.node.create_publisher(Image, "image", 1)
        self._messages = camera_messages(SIZE)
        self.received = 0
        self._number = 0

    def close(self) -> None:
        """Leave ROS."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.shutdown()

    def take(self, _: Any) -> None:
        """Count a message."""
        self.received += 1

    def change(self, transition: int) -> None:
        """Take the node through a lifecycle transition.

        Raises:
            ForesightError: it fails, or takes too long.
        """
        from lifecycle_msgs.srv import ChangeState

        client = self.node.create_client(ChangeState, "forecast_node/change_state")
        request = ChangeState.Request()
        request.transition.id = transition
        until = time.monotonic() + _TRANSITION_S
        self._spin(client.service_is_ready, until)
        answer = client.call_async(request)
        self._spin(answer.done, until)
        self.node.destroy_client(client)
        if not answer.done() or not answer.result().success:
            raise ForesightError(f"forecast_node did not go through transition {transition}")

    def _spin(self, is_done: Callable[[], bool], until: float) -> None:
        while not is_done() and time.monotonic() < until:
            self._executor.spin_once(timeout_sec=0.05)

    def measure(self, state: str) -> Cost:
        """Publish for a while, and read what the node took."""
        self._publish(_SETTLE_S)
        self.received = 0
        started, before = time.monotonic(), used_cpu_s(self._pid)
        self._publish(self._seconds)
        took, used = time.monotonic() - started, used_cpu_s(self._pid) - before
        return Cost(state, resident_mb(self._pid), 100 * used / took, self.received / took)

    def _publish(self, seconds: float) -> None:
        started = time.monotonic()
        number = 0
        while (due := started + number / self._rate_hz) < started + seconds:
            while (left := due - time.monotonic()) > 0:
                self._executor.spin_once(timeout_sec=left)
            message = self._messages[self._number % len(self._messages)]
            message.header.stamp = self.node.get_clock().now().to_msg()
            self._publisher.publish(message)
            number, self._number = number + 1, self._number + 1


def measure_costs(bundle: str, rate_hz: float, seconds: float) -> list[Cost]:
    """Take a node through its states.

    Args:
        bundle: as the node's parameter.
        rate_hz: of the camera.
        seconds: of measuring each state.

    Raises:
        ForesightError: the node does not do as it is told.
    """
    from lifecycle_msgs.msg import Transition
    from sensor_msgs.msg import Image

    from dino_foresight_ros.msg import Forecast

    parameters = {
        "bundle": bundle,
        "steps": 3,
        "outputs": list(OUTPUTS),
        "device": "cpu",
        "autostart": False,
    }
    with tempfile.TemporaryDirectory() as folder, node_alone(parameters, Path(folder)) as running:
        peer = _Peer(running.pid, rate_hz, seconds)
        try:
            found = [peer.measure("unconfigured")]
            peer.change(Transition.TRANSITION_CONFIGURE)
            found.append(peer.measure("inactive"))
            peer.change(Transition.TRANSITION_ACTIVATE)
            found.append(peer.measure("active, nobody listens"))
            topic = "foresight/step_1/segmentation"
            one = peer.node.create_subscription(Image, topic, peer.take, 1)
            found.append(peer.measure("active, one map of one step"))
            peer.node.destroy_subscription(one)
            peer.node.create_subscription(Forecast, "foresight/forecast", peer.take, 1)
            found.append(peer.measure("active, all outputs of three steps"))
            peer.change(Transition.TRANSITION_DEACTIVATE)
            peer.change(Transition.TRANSITION_CLEANUP)
            found.append(peer.measure("unconfigured again"))
        finally:
            peer.close()
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--rate", type=float, default=4.0, metavar="HZ", help="of the camera")
    parser.add_argument("--seconds", type=float, default=15.0, help="of measuring each state")
    options = parser.parse_args()
    print("| state | resident memory | CPU, of one core | received |")
    print("| :-- | --: | --: | --: |")
    for cost in measure_costs(options.bundle, options.rate, options.seconds):
        print(
            f"| {cost.state} | {cost.resident_mb:.0f} MB | {cost.core_percent:.0f} % | "
            f"{cost.forecasts_hz:.1f}/s |"
        )


if __name__ == "__main__":
    main()
