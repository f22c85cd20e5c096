"""How often and how soon forecasts come out of a running forecast_node, over DDS.

A camera of this process publishes rendered frames at its rate; forecast_node runs in a process of
its own; a reader of this process takes `foresight/forecast`, which carries every step's outputs.
All of it shares the machine's cores, as on a robot.
"""

from __future__ import annotations

import array
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION

WARM_UP_S = 5.0
START_S = 180.0
FRAMES = 40


@dataclass(frozen=True)
class LiveCase:
    """What is measured.

    Attributes:
        bundle: as the node's parameter `bundle`.
        seconds: of measuring, after a warm-up.
        rate_hz: of the camera.
        size: (H, W) of the camera's pictures.
        steps, outputs, device, dtype, samples: the node's parameters.
    """

    bundle: str
    seconds: float = 30.0
    rate_hz: float = 20.0
    size: tuple[int, int] = (360, 640)
    steps: int = 3
    outputs: tuple[str, ...] = (SEGMENTATION, DEPTH)
    device: str = "cpu"
    dtype: str = "auto"
    samples: int = 1


@dataclass(frozen=True)
class Live:
    """What came.

    Attributes:
        frames_hz, forecasts_hz: per second of measuring.
        latency_ms: (N,) from the frame's publish call to the forecast's callback, one per forecast.
    """

    frames_hz: float
    forecasts_hz: float
    latency_ms: np.ndarray


def measure_live(case: LiveCase) -> Live:
    """Start the node, feed it, and listen.

    Raises:
        ForesightError: the node does not start, or forecasts nothing.
    """
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from sensor_msgs.msg import Image

    from dino_foresight_ros.msg import Forecast
    from dino_foresight_ros.ros.time import time_to_ns

    parameters = {
        "bundle": case.bundle,
        "steps": case.steps,
        "outputs": list(case.outputs),
        "device": case.device,
        "dtype": case.dtype,
        "samples": case.samples,
    }
    with tempfile.TemporaryDirectory() as folder, node_alone(parameters, Path(folder)) as running:
        context = Context()
        context.init()
        node = Node("bench_camera", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        sent: dict[int, float] = {}
        came: list[tuple[float, float]] = []

        def take(message: Any) -> None:
            now = time.monotonic()
            came.append((now, now - sent[time_to_ns(message.header.stamp)]))

        publisher = node.create_publisher(Image, "image", 1)
        node.create_subscription(Forecast, "foresight/forecast", take, 1)
        messages = camera_messages(case.size)
        try:
            first = _drive(node, executor, publisher, messages, sent, came, case, running)
            until = first + WARM_UP_S + case.seconds
            measured = [t for t in sent.values() if first + WARM_UP_S <= t < until]
            kept = [lag for at, lag in came if first + WARM_UP_S <= at < until]
            return Live(
                len(measured) / case.seconds,
                len(kept) / case.seconds,
                np.array(kept) * 1e3,
            )
        finally:
            executor.shutdown()
            node.destroy_node()
            context.shutdown()


def _drive(
    node: Any,
    executor: Any,
    publisher: Any,
    messages: list[Any],
    sent: dict[int, float],
    came: list[tuple[float, float]],
    case: LiveCase,
    running: Any,
) -> float:
    """Publish at the camera's rate until enough has come; return when the first forecast came."""
    from dino_foresight_ros.ros.time import time_to_ns

    started = time.monotonic()
    number, first = 0, None
    while first is None or time.monotonic() < first + WARM_UP_S + case.seconds + 1.0:
        due = started + number / case.rate_hz
        while (left := due - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        message = messages[number % len(messages)]
        message.header.stamp = node.get_clock().now().to_msg()
        sent[time_to_ns(message.header.stamp)] = time.monotonic()
        publisher.publish(message)
        number += 1
        first = came[0][0] if first is None and came else first
        if running.exit_code is not None:
            raise running.failure("ended")
        if first is None and time.monotonic() > started + START_S:
            raise running.failure(f"forecast nothing in {START_S:.0f} s")
    return first


@contextmanager
def node_alone(parameters: Mapping[str, Any], folder: Path) -> Iterator[Any]:
    """forecast_node in a ROS domain that nobody else uses; this process joins it."""
    from dino_foresight_ros.demo.dds import choose_domain, private_environment
    from dino_foresight_ros.demo.processes import NodeProcess, node_command

    environment = private_environment(os.environ, choose_domain(), str(folder))
    before: Mapping[str, str] = dict(os.environ)
    os.environ.update(environment)
    command = node_command("forecast_node", parameters)
    running = NodeProcess("forecast_node", command, folder / "forecast_node.log", environment)
    try:
        yield running
    finally:
        running.stop()
        for name in environment:
            os.environ.pop(name, None)
        os.environ.update(before)


def camera_messages(size: tuple[int, int]) -> list[Any]:
    """`FRAMES` pictures (H, W) of a synthetic drive at 20 Hz, as Image messages without stamps."""
    from sensor_msgs.msg import Image

    from dino_foresight_ros.synthetic import World, WorldConfig

    world = World(WorldConfig(seed=7, width=size[1], height=size[0]))
    return [_message(Image, world.render(i * 0.05).image) for i in range(FRAMES)]


def _message(image_type: Any, picture: np.ndarray) -> Any:
    height, width = picture.shape[:2]
    message = image_type(height=height, width=width, step=3 * width, encoding="rgb8")
    message.header.frame_id = "camera"
    message.data = array.array("B", picture.tobytes())
    return message


def describe(case: LiveCase, result: Live) -> str:
    """The figures in words.

    Raises:
        ForesightError: nothing was forecast in the time measured.
    """
    if not len(result.latency_ms):
        raise ForesightError("no forecast came in the time measured; give more --seconds")
    p50, p99 = np.percentile(result.latency_ms, (50, 99))
    drawn = f", {case.samples} futures" if case.samples > 1 else ""
    return (
        f"{case.bundle}, {case.device}, {case.dtype}, {case.steps} steps of "
        f"{', '.join(case.outputs)}{drawn}, camera {case.size[1]}x{case.size[0]} at "
        f"{result.frames_hz:.1f} Hz: {result.forecasts_hz:.1f} forecasts/s, latency from publish "
        f"to receipt p50 {p50:.0f} ms, p99 {p99:.0f} ms ({len(result.latency_ms)} forecasts)"
    )
