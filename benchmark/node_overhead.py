"""What the forecast node adds to the engine's own time, from a message's callback to publish."""

from __future__ import annotations

import array
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dino_foresight_ros.errors import ForesightError

from .engine import CAMERA, Case, images
from .measure import Timing
from .sizes import build

WARM_UP = 10
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Overhead:
    """Milliseconds a frame; the parts of the overhead one by one.

    Attributes:
        whole: from the image callback until the last publish returned.
        engine: the engine's own time of that.
        overhead: whole - engine, frame by frame.
        decode: message to RGB array.
        publish: arrays to messages, and handing them to the middleware.
        rest: between threads, and keeping account.
    """

    whole: Timing
    engine: Timing
    overhead: Timing
    decode: Timing
    publish: Timing
    rest: Timing


class _Clocked:
    """Sums up the time that methods take; of one that calls another, the outer call counts."""

    def __init__(self, owner: Any = None, *names: str) -> None:
        self.seconds = 0.0
        self._is_timing = False
        for name in names:
            setattr(owner, name, self.timed(getattr(owner, name)))

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._is_timing:
                return work(*args, **kwargs)
            started, self._is_timing = time.perf_counter(), True
            try:
                return work(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started
                self._is_timing = False

        return timed

    def take(self) -> float:
        """Seconds since the last call of this."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def measure_overhead(case: Case, frames: int = 100) -> Overhead:
    """Run the node in this process, with a reader of each output, one frame at a time.

    The frame comes as rclpy hands it to the callback, rgb8 of 960x540; what the middleware takes
    to bring it there is not the node's.
    """
    import rclpy

    from dino_foresight_ros.nodes.forecast.node import ForecastNode

    with tempfile.TemporaryDirectory() as folder:
        path = build(case.size).save(Path(folder, "bundle"))
        parameters = {
            "bundle": path,
            "steps": case.steps,
            "device": case.device,
            "dtype": case.dtype,
        }
        words = [w for name, value in parameters.items() for w in ("-p", f"{name}:={value}")]
        rclpy.init(args=["bench", "--ros-args", "--log-level", "error", *words])
        try:
            node = ForecastNode()
            try:
                node.autostart()
                return _measure(node, case, frames)
            finally:
                node.destroy_node()
        finally:
            rclpy.try_shutdown()
            # --log-level holds for the process, not for the context.
            rclpy.logging.set_logger_level("", rclpy.logging.LoggingSeverity.INFO)


def _measure(node: Any, case: Case, frames: int) -> Overhead:
    from rclpy.node import Node

    pipeline, engine = node.pipeline, node.pipeline.loaded.engine
    (camera,), statistics = pipeline.cameras.values(), pipeline.scheduler.statistics
    reader = Node("bench_reader")
    try:
        _subscribe(reader, camera, case)
        callback = next(s.callback for s in node.subscriptions if s.topic_name == camera.topic_name)
        decoder, decoding = camera.decoder, _Clocked()
        take = decoder.take
        decoder.take = lambda message: decoding.timed(take(message))
        clocks = [
            # One frame at a time: none is encoded while another is decoded.
            _Clocked(engine, "encode", "forecast"),
            decoding,
            _Clocked(camera.publishers, "publish"),
        ]
        rows = [_one_frame(callback, statistics, clocks, i) for i in range(frames + WARM_UP)]
    finally:
        reader.destroy_node()
    counts = statistics.counts()
    if counts.forecasts < frames:
        raise ForesightError(f"only {counts.forecasts} of {frames} frames were forecast: {counts}")
    whole, engine_s, decode, publish = np.array(rows[WARM_UP:]).T
    return Overhead(
        *(
            Timing.of(list(seconds))
            for seconds in (
                whole,
                engine_s,
                whole - engine_s,
                decode,
                publish,
                whole - engine_s - decode - publish,
            )
        )
    )


def _subscribe(reader: Any, camera: Any, case: Case) -> None:
    """Readers that match and are never run: reading is their business, not the node's."""
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image

    for step in range(1, case.steps + 1):
        for name in case.outputs:
            topic = f"foresight/step_{step}/{name}"
            reader.create_subscription(Image, topic, lambda _: None, QoSProfile(depth=1))
    deadline = time.monotonic() + TIMEOUT_S
    wanted = set(case.outputs)
    while not all(wanted <= names for names in camera.publishers.subscribed().values()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no subscriber of {sorted(wanted)} was matched")
        time.sleep(0.05)


def _one_frame(
    callback: Callable[[Any], None], statistics: Any, clocks: list[_Clocked], index: int
) -> tuple[float, ...]:
    from sensor_msgs.msg import Image

    height, width = CAMERA
    stamp_ns = 10**18 + index * 200_000_000
    message = Image(height=height, width=width, step=3 * width, encoding="rgb8")
    message.data = array.array("B", images(1)[0].tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    before = time.perf_counter()
    callback(message)
    handed_over = time.perf_counter() - before
    while statistics.counts().in_flight:
        time.sleep(0.0005)
    latency_s = statistics.latency.last_s or 0.0  # ends where the last publish returned
    return max(latency_s, handed_over), *(clock.take() for clock in clocks)


def describe(case: Case, result: Overhead) -> str:
    """The figures in words."""
    parts = {name: getattr(result, name).p50_ms for name in ("decode", "publish", "rest")}
    return (
        f"{case.size}, {case.device}, {case.dtype}, {case.steps} steps of "
        f"{', '.join(case.outputs)}, 960x540 rgb8 in: the node adds "
        f"{result.overhead.p50_ms:.2f} ms to the engine's {result.engine.p50_ms:.1f} ms (p50 of "
        f"{result.overhead.count} frames; p99 {result.overhead.p99_ms:.2f} ms): "
        + ", ".join(f"{name} {ms:.2f}" for name, ms in parts.items())
    )
