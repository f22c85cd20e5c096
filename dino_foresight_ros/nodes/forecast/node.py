"""forecast_node: a camera stream in, forecasts of what it will show out.

A managed node. Configuring loads the bundle, activating subscribes; with `autostart` both happen
at start, and a failure then ends the process with exit code 1, since nobody manages the node.
Without it, a failed configure leaves the node unconfigured, and it may be tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from dino_foresight_ros.errors import describe
from dino_foresight_ros.nodes.forecast.control import ForecastControl
from dino_foresight_ros.nodes.forecast.diagnostics import ForecastDiagnostics, Situation, Thresholds
from dino_foresight_ros.nodes.forecast.imagine_service import ImagineService
from dino_foresight_ros.nodes.forecast.lifecycle import end_lifecycle, tolerate_bad_transitions
from dino_foresight_ros.nodes.forecast.parameters import FORECAST_PARAMETERS
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.process.memory import describe_release, give_back_memory, memory_use
from dino_foresight_ros.ros.live_motion import LiveMotion
from dino_foresight_ros.ros.node_main import leave, run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import check_overrides, warn_of_unused_overrides
from dino_foresight_ros.ros.rivals import warn_of_rivals
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.ros.transforms import Transforms

if TYPE_CHECKING:
    from dino_foresight_ros.nodes.forecast.pipeline import Pipeline
    from dino_foresight_ros.runtime.scheduler import Scheduler
    from dino_foresight_ros.runtime.statistics import FrameCounter

NODE_NAME = "forecast_node"
STOP_TIMEOUT_S = 1.5
END_TIMEOUT_S = 0.5  # after SIGINT the process is to be gone within 2 s, also on a busy machine


class ForecastNode(LifecycleNode):
    """Loads, starts and ends a `Pipeline`, which does the work; see the module for its life.

    Attributes:
        parameters: the node's.
        pipeline: None while the node is unconfigured.
        motion: how the robot moves, from what the node hears.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.pipeline: Pipeline | None = None
        self.parameters = Parameters(self, FORECAST_PARAMETERS, lambda: self.pipeline is None)
        self._counter: FrameCounter | None = None
        self._diagnostics = ForecastDiagnostics(self)
        self._control = ForecastControl(self, self.parameters, self._active_scheduler)
        self.motion = LiveMotion(self, self.parameters, Transforms(self))
        self._imagine = ImagineService(self, self.parameters, self._active_pipeline, self.motion)
        self.parameters.on_change(self._on_parameters)
        tolerate_bad_transitions(self)
        steady_timer(self, self.parameters["diagnostics_period_s"], self._check)
        self._rivals = warn_of_rivals(self, self._forecast_topics)

    def autostart(self) -> None:
        """Configure and activate.

        Raises:
            SystemExit: that failed; the reason is logged.
        """
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise SystemExit(1)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the bundle and build the publishers."""
        log = self.get_logger()
        try:
            # Imported here: torch takes seconds, which a signal or a bad parameter must not wait
            # for.
            from dino_foresight_ros.nodes.forecast.pipeline import Pipeline

            report = self._diagnostics.failed
            pipeline = Pipeline(
                self, self.parameters, self._control.gate, report, self._counter, self.motion
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the node stays manageable
            reason = describe(error)
            log.error(f"cannot configure: {reason}")
            self._release()
            self._diagnostics.configure_failed(reason)
            return TransitionCallbackReturn.FAILURE
        self.pipeline = pipeline
        self._counter = pipeline.scheduler.statistics.counter  # over the node's whole life
        self._diagnostics.configured(pipeline.loaded, pipeline.scheduler)
        log.info(f"configured: {pipeline.describe()}")
        if not pipeline.loaded.trained:
            log.warning(
                f"{pipeline.loaded.model.name} is untrained: its weights are random, its forecasts "
                "mean nothing"
            )
        if not pipeline.loaded.has_heads:
            log.warning(
                f"{pipeline.loaded.model.name} has no heads: nothing of its forecasts can be "
                "published but the features"
                + ("" if self.parameters["publish_features"] else "; set publish_features to true")
                + ". `foresight train` makes heads (docs/training.md)"
            )
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self.pipeline is not None
        result = super().on_activate(state)
        self.pipeline.start()
        warn_of_unused_overrides(self)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker."""
        self._stop()
        self.get_logger().info("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the model and its memory back."""
        before = memory_use()
        ended = self.pipeline is None or self.pipeline.stop(STOP_TIMEOUT_S)
        self._release()
        text = f"cleaned up: {describe_release(before, memory_use())}"
        if not ended:
            text += "; a forward pass still runs and keeps the model until it ends"
        self.get_logger().info(text)
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good."""
        self._stop()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition broke: back to unconfigured."""
        self._stop()
        self._release()
        self.get_logger().error("a transition failed; the node is unconfigured")
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the work and take the node down."""
        try:
            self._stop(END_TIMEOUT_S)
            if self.pipeline is not None:
                # A worker that still runs would publish on what the node has destroyed.
                self.pipeline.destroy()
            self._control.close()
        finally:
            super().destroy_node()
            end_lifecycle(self)

    def _stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        if self.pipeline is not None and not self.pipeline.stop(timeout_s):
            self.get_logger().warning("a forward pass still runs; its result will be dropped")

    def _release(self) -> None:
        if self.pipeline is not None:
            self.pipeline.destroy()
        self.pipeline = None
        self._imagine.release()
        self._diagnostics.released()
        give_back_memory()

    # In the executor's thread

    def _active_pipeline(self) -> Pipeline | None:
        """The pipeline, while it takes frames."""
        pipeline = self.pipeline
        return pipeline if pipeline is not None and pipeline.is_active else None

    def _active_scheduler(self) -> Scheduler | None:
        """The scheduler, while it takes frames."""
        pipeline = self._active_pipeline()
        return None if pipeline is None else pipeline.scheduler

    def _forecast_topics(self) -> list[str]:
        if self.pipeline is None:
            return []
        return [camera.publishers.topic_name for camera in self.pipeline.cameras.values()]

    def _on_parameters(self, names: frozenset[str]) -> None:
        self._control.apply()
        if self.pipeline is not None:
            self.pipeline.apply(names)

    def _check(self) -> None:
        """Now and then: look after the streams and publish diagnostics."""
        cameras = {} if self.pipeline is None else self.pipeline.cameras
        if self.pipeline is not None:
            self.pipeline.check(self.parameters["stream_timeout_s"])
        self._control.check()
        subscribed = [camera.publishers.subscribed() for camera in cameras.values()]
        self._diagnostics.publish(
            Situation(
                {name: c.watch for name, c in cameras.items() if c.watch is not None},
                Thresholds(
                    self.parameters["latency_warn_ms"],
                    self.parameters["latency_error_ms"],
                    self.parameters["min_rate_hz"],
                    self.parameters["stream_timeout_s"],
                ),
                has_listeners=any(any(by_step.values()) for by_step in subscribed),
                is_enabled=self._control.gate.is_enabled,
                shared_topics=self._rivals.topics,
                rate_problems={n: c.rate_problem for n, c in cameras.items() if c.rate_problem},
                motion=self._describe_motion(),
                depth="; ".join(c.say(text) for c in cameras.values() if (text := c.focal_problem)),
                imagine=self._imagine.last_answer,
            )
        )

    def _describe_motion(self) -> str:
        """Of which motion forecasts know, in words; empty where the model takes none."""
        pipeline = self._active_pipeline()
        if pipeline is None or not pipeline.imagination.is_motion_aware:
            return ""
        problem = self.motion.problem
        return f"none: {problem}" if problem else str(self.parameters["motion"])


def _start() -> ForecastNode:
    node = ForecastNode()
    if node.parameters["autostart"]:
        node.autostart()
    return node


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    set_up_cpu()
    summary = "Forecasts what a camera will see next. In: image, camera_info. Out: foresight/..."
    return run_node(_start, args, usage(NODE_NAME, summary, FORECAST_PARAMETERS))


if __name__ == "__main__":
    leave(main())
