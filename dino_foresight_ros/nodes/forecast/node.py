"""forecast_node: a camera stream in, forecasts of what it will show out.

A managed node. Configuring loads the bundle, activating subscribes; with `autostart` both happen
at start, and a failure then ends the process with exit code 1, since nobody manages the node.
Without it, a failed configure leaves the node unconfigured, and it may be tried again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage, Image

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.nodes.forecast.camera_groups import build_grouper
from dino_foresight_ros.nodes.forecast.camera_stream import CameraStream
from dino_foresight_ros.nodes.forecast.control import ForecastControl
from dino_foresight_ros.nodes.forecast.diagnostics import ForecastDiagnostics, Situation
from dino_foresight_ros.nodes.forecast.health import Thresholds
from dino_foresight_ros.nodes.forecast.image_conversion import choose_converter
from dino_foresight_ros.nodes.forecast.lifecycle import end_lifecycle, tolerate_bad_transitions
from dino_foresight_ros.nodes.forecast.parameters import FORECAST_PARAMETERS
from dino_foresight_ros.outputs import outputs_of_heads
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.process.memory import describe_release, give_back_memory, memory_use
from dino_foresight_ros.ros.names import camera_topics
from dino_foresight_ros.ros.node_main import leave, run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import check_overrides, unused_overrides

if TYPE_CHECKING:
    from dino_foresight_ros.nodes.forecast.load_engine import LoadedEngine
    from dino_foresight_ros.runtime.statistics import FrameCounter
    from dino_foresight_ros.runtime.worker import ForecastWorker

NODE_NAME = "forecast_node"
CHECK_PERIOD_S = 1.0
LOG_PERIOD_S = 10.0
STOP_TIMEOUT_S = 1.5
END_TIMEOUT_S = 0.5  # after SIGINT the process is to be gone within 2 s, also on a busy machine

# What a dropped frame is worth saying, once for each reason.
_DROP_WARNINGS = {
    "duplicate_stamp": "a frame came twice (same time stamp); such frames are dropped",
    "out_of_order": "a frame came after a newer one; such frames are dropped",
    "no_stamp": "images carry no time stamp (0); such frames are dropped: set header.stamp",
    "bad_stamp": "images carry impossible time stamps (not of 1970 to 2038, or 1e9 or more ns); "
    "such frames are dropped: check the camera driver's clock",
}


class ForecastNode(LifecycleNode):
    """Subscribes to images and publishes forecasts; see the module for its life."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.parameters = Parameters(self, FORECAST_PARAMETERS, lambda: self._worker is None)
        self._counter: FrameCounter | None = None
        self._loaded: LoadedEngine | None = None
        self._worker: ForecastWorker | None = None
        self._cameras: dict[str, CameraStream] = {}
        self._diagnostics = ForecastDiagnostics(self)
        self._silent_until_s: dict[str, float] = {}
        self._control = ForecastControl(self, self.parameters, self._active_worker)
        self.parameters.on_change(self._on_parameters)
        tolerate_bad_transitions(self)
        # Not the node's clock, which stands still while a recording is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(CHECK_PERIOD_S, self._check, clock=steady)

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
        parameters = self.parameters.as_dict()
        try:
            # Imported here: torch takes seconds, which a signal or a bad parameter must not wait
            # for.
            from dino_foresight_ros.nodes.forecast.load_engine import load_engine

            self._loaded = loaded = load_engine(parameters)
            model, log = loaded.model, self.get_logger()
            convert = choose_converter(log.info, log.warning)
            self._cameras = {
                names.camera: CameraStream(self, names, model, parameters, convert)
                for names in camera_topics(parameters["cameras"], parameters["camera_topic"])
            }
            self._worker = self._build_worker(loaded)
        except Exception as error:  # noqa: BLE001 - whatever it is, the node stays manageable
            reason = _describe(error)
            self.get_logger().error(f"cannot configure: {reason}")
            self._release()
            self._diagnostics.configure_failed(reason)
            return TransitionCallbackReturn.FAILURE
        self._diagnostics.configured(loaded, self._worker)
        self.get_logger().info(
            f"configured: {model.name} on {loaded.device} ({loaded.dtype}), "
            f"{parameters['steps']} steps of {loaded.engine.bundle.frame_interval_s:g} s, "
            f"outputs {model.describe_outputs()}"
            + (f"; cameras {', '.join(filter(None, self._cameras))}" if any(self._cameras) else "")
        )
        if not loaded.trained:
            self.get_logger().warning(
                f"{model.name} is untrained: its weights are random, its forecasts mean nothing"
            )
        return super().on_configure(state)

    def _build_worker(self, loaded: LoadedEngine) -> ForecastWorker:
        from dino_foresight_ros.nodes.forecast.load_engine import output_size
        from dino_foresight_ros.runtime.request import OutputRequest
        from dino_foresight_ros.runtime.worker import ForecastWorker, Hooks

        cameras = self._cameras  # a pass may outlast them in `self`
        hooks = Hooks(
            decode=lambda frame: cameras[frame.camera].decode(frame.payload),
            request=lambda camera: OutputRequest(
                cameras[camera].topics.wanted(), output_size(self.parameters["output_size"])
            ),
            on_forecast=lambda forecast, frame: cameras[frame.camera].publish(forecast, frame),
            on_drop=lambda frame, reason: self._on_drop(cameras[frame.camera], reason),
            on_error=lambda frame, reason, error: self._on_frame_error(
                cameras[frame.camera], reason, error
            ),
            too_old=self._control.too_old,
        )
        grouper = build_grouper(self.parameters.as_dict(), self.get_logger().warning)
        worker = ForecastWorker(loaded.engine, hooks, self._counter, grouper)
        worker.fill_context = self.parameters["fill_context"]
        self._counter = worker.counter  # frames are counted over the node's whole life
        return worker

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self._worker is not None
        result = super().on_activate(state)
        self._worker.start()
        parameters = self.parameters.as_dict()
        for camera in self._cameras.values():
            camera.open(parameters, self._on_image)
        for sentence in unused_overrides(self):
            self.get_logger().warning(sentence)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the worker."""
        self._stop()
        self.get_logger().info("inactive")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the model and its memory back."""
        before = memory_use()
        ended = self._worker is None or self._worker.stop(STOP_TIMEOUT_S)
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
        self._stop(END_TIMEOUT_S)
        self._control.close()
        super().destroy_node()
        end_lifecycle(self)

    def _stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        for camera in self._cameras.values():
            camera.close()
        if self._worker is not None and not self._worker.stop(timeout_s):
            self.get_logger().warning("a forward pass still runs; its result will be dropped")

    def _release(self) -> None:
        for camera in self._cameras.values():
            camera.destroy()
        self._cameras = {}
        self._worker = self._loaded = None
        self._diagnostics.released()
        give_back_memory()

    def _active_worker(self) -> ForecastWorker | None:
        """The worker, while it takes frames."""
        is_active = any(camera.watch is not None for camera in self._cameras.values())
        return self._worker if is_active else None

    def _on_parameters(self, names: frozenset[str]) -> None:
        """Some parameters were set: apply those that a running node can."""
        self._control.apply()
        loaded, worker = self._loaded, self._worker
        if worker is not None:
            worker.fill_context = self.parameters["fill_context"]
            if worker.grouper is not None:
                worker.grouper.silent_s = self.parameters["stream_timeout_s"]
        if loaded is not None and names & {"steps", "outputs", "publish_features"}:
            heads = tuple(loaded.engine.bundle.heads)
            outputs = outputs_of_heads(heads) & frozenset(self.parameters["outputs"])
            for camera in self._cameras.values():
                camera.topics.change(
                    outputs, self.parameters["steps"], self.parameters["publish_features"]
                )

    # Messages in: the executor's thread

    def _on_image(self, camera: CameraStream, message: Image | CompressedImage) -> None:
        if self._worker is not None:
            self._control.hand_over(self._worker, camera.camera, message)

    def _check(self) -> None:
        """Once a second: look after the streams and publish diagnostics."""
        watches = {}
        for name, camera in self._cameras.items():
            camera.check(self.parameters["stream_timeout_s"])
            if camera.watch is not None:
                watches[name] = camera.watch
        self._control.check()
        wanted = [camera.topics.wanted() for camera in self._cameras.values()]
        self._diagnostics.publish(
            Situation(
                watches,
                Thresholds(
                    self.parameters["latency_warn_ms"],
                    self.parameters["latency_error_ms"],
                    self.parameters["min_rate_hz"],
                    self.parameters["stream_timeout_s"],
                ),
                has_listeners=any(any(by_step.values()) for by_step in wanted),
                is_enabled=self._control.gate.is_enabled,
            )
        )

    # Work: the worker's thread

    def _on_drop(self, camera: CameraStream, reason: str) -> None:
        if reason in _DROP_WARNINGS:
            camera.warn_once(reason, _DROP_WARNINGS[reason])
        elif reason == "time_jump":
            self.get_logger().warning(
                camera.say("time jumped back (a bag that loops?); the context starts anew"),
                throttle_duration_sec=LOG_PERIOD_S,
            )

    def _on_frame_error(self, camera: CameraStream, reason: str, error: Exception) -> None:
        text = camera.say(_describe(error))
        self._diagnostics.failed(text)
        now_s = time.monotonic()
        if now_s >= self._silent_until_s.get(reason, 0.0):  # one reason must not hide another
            self._silent_until_s[reason] = now_s + LOG_PERIOD_S
            self.get_logger().error(f"frame dropped ({reason}): {text}")


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ForesightError) else f"{type(error).__name__}: {text}"


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
