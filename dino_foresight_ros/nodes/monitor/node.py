"""monitor_node: how good forecasts are, measured live. Works on messages alone, on any machine.

In: foresight/forecast, foresight/features, foresight/step_0/... (what the model sees in the newest
frame), which forecast_node computes while this node listens.
Out: foresight/skill (one message per step and frame that came), foresight/surprise (where the
world did not do what was expected), /diagnostics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rclpy.node import Node

from dino_foresight_ros.nodes.monitor.diagnostics import MonitorDiagnostics
from dino_foresight_ros.nodes.monitor.parameters import MONITOR_PARAMETERS
from dino_foresight_ros.nodes.monitor.stream import MonitorStream
from dino_foresight_ros.ros.node_main import run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import check_overrides, warn_of_unused_overrides
from dino_foresight_ros.ros.rivals import warn_of_rivals
from dino_foresight_ros.ros.stream_watch import StreamChange
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.topic_names import CAMERA_FIELD, camera_topics

NODE_NAME = "monitor_node"


class MonitorNode(Node):
    """Compares the forecasts of one or more cameras with what came."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.parameters = Parameters(self, MONITOR_PARAMETERS, lambda: False)
        values = self.parameters.as_dict()
        self.streams = {
            names.camera: MonitorStream(self, names, values)
            for names in camera_topics(values["cameras"], CAMERA_FIELD)
        }
        self._diagnostics = MonitorDiagnostics(self)
        self.parameters.on_change(self._on_parameters)
        steady_timer(self, values["diagnostics_period_s"], self._check)
        warn_of_rivals(self, lambda: [stream.skill_topic for stream in self.streams.values()])
        topics = ", ".join(stream.topic_name for stream in self.streams.values())
        self.get_logger().info(f"listening on {topics}")
        warn_of_unused_overrides(self)

    def _on_parameters(self, _names: frozenset[str]) -> None:
        for stream in self.streams.values():
            stream.change(self.parameters.as_dict())

    def _check(self) -> None:
        """Now and then: look after the streams and publish diagnostics."""
        for stream in self.streams.values():
            change = stream.watch.check(time.monotonic())
            if change is not None:
                verb = "came yet" if change is StreamChange.NEVER_STARTED else "came"
                self.get_logger().warning(
                    f"no forecast {verb} on {stream.topic_name} for {stream.watch.timeout_s:g} s"
                )
        self._diagnostics.publish(self.streams)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    summary = "Compares forecasts with what came. In and out: foresight/..."
    return run_node(MonitorNode, args, usage(NODE_NAME, summary, MONITOR_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
