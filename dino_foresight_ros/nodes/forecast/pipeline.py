"""An image in forecast_node: from its callback to the engine, and its forecast to the publishers.

Brings torch, which takes seconds: imported only while the node is configured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image

from dino_foresight_ros.choices import FROM_NOW
from dino_foresight_ros.errors import InputError, describe
from dino_foresight_ros.nodes.forecast.camera_stream import CameraStream
from dino_foresight_ros.nodes.forecast.control import FrameGate
from dino_foresight_ros.nodes.forecast.image_conversion import choose_converter
from dino_foresight_ros.nodes.forecast.load_engine import load_engine, published_outputs
from dino_foresight_ros.nodes.forecast.parameters import parse_output_size
from dino_foresight_ros.nodes.forecast.synchronizer import build_grouper
from dino_foresight_ros.outputs import DEPTH, DropReason
from dino_foresight_ros.planar_motion import seen_by
from dino_foresight_ros.ros.live_motion import LiveMotion
from dino_foresight_ros.ros.parameters import Parameters
from dino_foresight_ros.ros.time import stamp_problem, time_to_ns
from dino_foresight_ros.runtime.frame import Forecast, QueuedFrame
from dino_foresight_ros.runtime.imagination import Imagination
from dino_foresight_ros.runtime.request import MotionRows, OutputRequest
from dino_foresight_ros.runtime.scheduler import Scheduler, Worker
from dino_foresight_ros.runtime.statistics import FrameCounter, Statistics
from dino_foresight_ros.topic_names import camera_topics

LOG_PERIOD_S = 10.0
# No stream is that late; a recording played without its clock is.
_RECORDING_AGE_S = 3600.0

# What a dropped frame is worth saying, once for each reason.
_DROP_WARNINGS = {
    DropReason.DUPLICATE_STAMP: "a frame came twice (same time stamp); such frames are dropped",
    DropReason.OUT_OF_ORDER: "a frame came after a newer one; such frames are dropped",
    DropReason.NO_STAMP: "images carry no time stamp (0); such frames are dropped: set "
    "header.stamp",
    DropReason.BAD_STAMP: "images carry impossible time stamps (not of 1970 to 2038, or 1e9 or "
    "more ns); such frames are dropped: check the camera driver's clock",
}


class FreshContexts(NamedTuple):
    """The cameras whose pictures are not old, and why others are left out.

    Attributes:
        newest_ns: stamp of a camera's newest context frame.
        problems: in words, by camera.
    """

    newest_ns: Mapping[str, int]
    problems: Mapping[str, str]

    @classmethod
    def of(
        cls,
        newest_ns: Mapping[str, int],
        ages_s: Mapping[str, float],
        timeout_s: float,
        gap_s: float,
    ) -> FreshContexts:
        """Sort out what is old.

        Args:
            newest_ns: of all full contexts.
            ages_s: for how long no newer frame came to each, by the node's clock.
            timeout_s: from this age on a picture is old.
            gap_s: so much may a camera lag behind the newest of all.
        """
        last_ns, problems = max(newest_ns.values()), {}
        for name, stamp_ns in newest_ns.items():
            lag_s = (last_ns - stamp_ns) / 1e9
            if ages_s[name] > timeout_s:
                problems[name] = (
                    f"its newest picture is {ages_s[name]:.1f} s old, and stream_timeout_s is "
                    f"{timeout_s:g} s"
                )
            elif lag_s > gap_s:
                problems[name] = (
                    f"its newest picture is {lag_s:.1f} s older than that of another camera, more "
                    f"than {gap_s:g} s"
                )
        return cls({n: ns for n, ns in newest_ns.items() if n not in problems}, problems)


class Pipeline:
    """A loaded engine, the cameras that it serves, and what happens between them.

    Built at configure and destroyed at cleanup. It is the scheduler's `Sink`: `forecast` is
    called in the worker's thread, `failed` in that and in those that help the engine, `dropped` in
    the executor's as well, and all else in the executor's.
    """

    def __init__(
        self,
        node: LifecycleNode,
        parameters: Parameters,
        gate: FrameGate,
        report_failure: Callable[[str], None],
        counter: FrameCounter | None = None,
        motion: LiveMotion | None = None,
    ) -> None:
        """Load the model and create the publishers.

        Args:
            node: the node that all of it belongs to.
            parameters: the node's.
            gate: says what a frame that comes in is good for.
            report_failure: is told of each frame that failed, in words; from any thread.
            counter: where frames were counted so far.
            motion: how the base moves; not known when None.

        Raises:
            ForesightError: the model cannot be used.
        """
        values, log = parameters.as_dict(), node.get_logger()
        self._node, self._parameters, self._gate = node, parameters, gate
        self._report_failure, self._motion = report_failure, motion
        self.loaded = load_engine(values, log.warning)
        self.scheduler = Scheduler(
            self.loaded.engine,
            self,
            Statistics(counter),
            build_grouper(values, log.warning),
            now_ns=self._now_ns,
        )
        self.scheduler.fill_context = values["fill_context"]
        self.imagination = Imagination(self.loaded.engine)
        self._worker = Worker(self.scheduler)
        self._silent_until_s: dict[DropReason, float] = {}
        convert = choose_converter(log.info, log.warning)
        self.cameras: dict[str, CameraStream] = {}
        try:
            every = camera_topics(values["cameras"], values["camera_topic"])
            steps = self.loaded.horizons.steps(values["steps"])
            for index, names in enumerate(every):
                stream = CameraStream(node, names, index, self.loaded.model, values, steps, convert)
                self.cameras[names.camera] = stream
        except Exception:
            self.destroy()
            raise

    def describe(self) -> str:
        """What was configured, in words."""
        loaded, model = self.loaded, self.loaded.model
        named = ", ".join(filter(None, self.cameras))
        return (
            f"{model.name} on {loaded.device} ({loaded.dtype}), {self._describe_steps()}, outputs "
            f"{model.describe_outputs()}" + (f"; cameras {named}" if named else "")
        )

    def _describe_steps(self) -> str:
        values, loaded = self._parameters.as_dict(), self.loaded
        text = f"{values['steps']} steps of {loaded.engine.bundle.frame_interval_s:g} s"
        if values["horizons_s"]:
            text = "horizons of " + ", ".join(f"{h:g}" for h in values["horizons_s"]) + " s"
        text += " from publication" if values["horizon_from"] == FROM_NOW else ""
        return text + (f", {values['samples']} futures" if values["samples"] > 1 else "")

    def start(self) -> None:
        """Start the worker and subscribe."""
        self._worker.start()
        values = self._parameters.as_dict()
        if self._motion is not None and self.imagination.is_motion_aware:
            self._motion.want()
        for camera in self.cameras.values():
            camera.open(values, self.receive)

    def stop(self, timeout_s: float) -> bool:
        """Unsubscribe and stop the worker; False where a forward pass outlasts the timeout."""
        for camera in self.cameras.values():
            camera.close()
        if self._motion is not None:
            self._motion.close()
        return self._worker.stop(timeout_s)

    def destroy(self) -> None:
        """Take the publishers down."""
        for camera in self.cameras.values():
            camera.destroy()

    @property
    def is_active(self) -> bool:
        """Whether images are subscribed to."""
        return any(camera.watch is not None for camera in self.cameras.values())

    def check(self, timeout_s: float) -> None:
        """To be called now and then: look after the streams."""
        for camera in self.cameras.values():
            camera.check(timeout_s, self.loaded.engine.rule)

    def apply(self, names: frozenset[str]) -> None:
        """Some parameters were set: apply those that a running engine can."""
        values = self._parameters.as_dict()
        self.scheduler.fill_context = values["fill_context"]
        if self.scheduler.grouper is not None:
            self.scheduler.grouper.silent_s = values["stream_timeout_s"]
        if names & {"steps", "outputs", "publish_features"}:
            outputs = published_outputs(self.loaded.engine, values["outputs"])
            steps = self.loaded.horizons.steps(values["steps"])
            for camera in self.cameras.values():
                camera.publishers.change(outputs, steps, values["publish_features"])

    def horizons_s(self) -> tuple[float, ...]:
        """Seconds from a frame to each step of its forecast."""
        return self._seconds_of(self.loaded.horizons.ahead_s(self._parameters["steps"]))

    def _seconds_of(self, ahead_s: tuple[float, ...] | None) -> tuple[float, ...]:
        """Horizons as requested, which may be the engine's own."""
        interval_s = self.loaded.engine.bundle.frame_interval_s
        steps = range(1, self._parameters["steps"] + 1)
        return ahead_s or tuple(interval_s * step for step in steps)

    def fresh_contexts(self) -> FreshContexts:
        """What may be imagined from; in the worker's thread.

        Raises:
            InputError: no context is full.
        """
        engine = self.loaded.engine
        newest_ns = {n: c.stamps_ns[-1] for n in self.cameras if (c := engine.context(n))}
        if not newest_ns:
            raise InputError(f"nothing can be forecast yet: the context has {engine.context_state}")
        ages_s = {n: self.cameras[n].age_s(stamp_ns) for n, stamp_ns in newest_ns.items()}
        gap_s = engine.rule.max_gap_ns / 1e9
        return FreshContexts.of(newest_ns, ages_s, self._parameters["stream_timeout_s"], gap_s)

    def _motion_until(
        self, camera: CameraStream, stamp_ns: int, horizons_s: Sequence[float]
    ) -> MotionRows | None:
        """How the base is taken to move, in axes turned to where a camera looks; None where that is
        not known, or of no use."""
        if self._motion is None or not self.imagination.is_motion_aware:
            return None
        found = self._motion.until(stamp_ns, horizons_s)
        if found is None:
            return None
        try:
            pose = self._motion.camera_pose(camera.index, camera.frame_id)
        except InputError as error:
            camera.warn_once(
                "mount",
                f"where it looks is not known, so it is taken to look ahead: {error}",
            )
            pose = None
        rows = seen_by(found, pose)
        return tuple((float(x), float(y), float(turn)) for x, y, turn in rows)

    # In: the executor's thread

    def receive(self, camera: CameraStream, message: Image | CompressedImage) -> None:
        """Hand an image that came in to the scheduler, with all that is to be known of it."""
        picture = camera.decoder.take(message)
        stamp, now_s = message.header.stamp, time.monotonic()
        stamp_ns, name = time_to_ns(stamp), camera.camera
        refusal = stamp_problem(stamp) if self._gate.is_enabled else DropReason.DISABLED
        if refusal is not None:
            self.scheduler.refuse(QueuedFrame(message, stamp_ns, now_s, name), refusal)
            return
        camera.period.frame(stamp_ns)
        is_held_back = self._gate.holds_back(name, stamp_ns, now_s)
        size = parse_output_size(self._parameters["output_size"])
        ahead_s = self.loaded.horizons.ahead_s(self._parameters["steps"])
        outputs = camera.publishers.subscribed()
        of_samples = camera.publishers.subscribed_of_samples()
        needs_focal = self.loaded.model.depth_focal is not None and any(
            DEPTH in names for names in (*outputs.values(), of_samples)
        )
        if not needs_focal:
            camera.focal_problem = None
        frame = QueuedFrame(
            payload=message,
            stamp_ns=stamp_ns,
            received_s=now_s,
            camera=name,
            decode=lambda _: picture(),
            request=OutputRequest(
                outputs,
                size,
                ahead_s=ahead_s,
                sample_outputs=of_samples,
            ),
            motion=lambda: self._motion_until(camera, stamp_ns, self._seconds_of(ahead_s)),
            focal=camera.focal if needs_focal else None,
            max_age_ns=round(self._parameters["max_age_ms"] * 1e6) or None,
            held_back=DropReason.RATE_LIMITED if is_held_back else None,
        )
        self.scheduler.submit(frame)

    # Out: as the scheduler's sink

    def forecast(self, frame: QueuedFrame, forecast: Forecast, image_size: tuple[int, int]) -> None:
        """Publish a frame's forecast."""
        frame_id = frame.payload.header.frame_id
        self.cameras[frame.camera].publish(forecast, frame_id, image_size, frame.received_s)
        self.loaded.horizons.published((self._now_ns() - frame.stamp_ns) / 1e9)

    def dropped(self, frame: QueuedFrame, reason: DropReason) -> None:
        """Say why a frame was given up, where that is worth it."""
        camera, log = self.cameras[frame.camera], self._node.get_logger()
        if reason in _DROP_WARNINGS:
            camera.warn_once(reason, _DROP_WARNINGS[reason])
        elif reason is DropReason.TIME_JUMP:
            log.warning(
                camera.say("time jumped back (a bag that loops?); the context starts anew"),
                throttle_duration_sec=LOG_PERIOD_S,
            )
        elif reason is DropReason.TOO_OLD:
            log.warning(self._describe_age(frame), throttle_duration_sec=LOG_PERIOD_S)

    def failed(self, frame: QueuedFrame, reason: DropReason, error: Exception) -> None:
        """Say what a frame failed for."""
        text = self.cameras[frame.camera].say(describe(error))
        self._report_failure(text)
        now_s = time.monotonic()
        if now_s >= self._silent_until_s.get(reason, 0.0):  # one reason must not hide another
            self._silent_until_s[reason] = now_s + LOG_PERIOD_S
            self._node.get_logger().error(f"frame dropped ({reason}): {text}")

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _describe_age(self, frame: QueuedFrame) -> str:
        age_s = (self._now_ns() - frame.stamp_ns) / 1e9
        hint = (
            "; if this is a recording, play it with its clock (ros2 bag play --clock) and set "
            "use_sim_time to true"
            if age_s > _RECORDING_AGE_S
            else ""
        )
        return (
            f"a frame was {age_s:.3g} s old when its turn came, more than max_age_ms allows "
            f"({(frame.max_age_ns or 0) / 1e6:g} ms); such frames are not forecast{hint}"
        )
