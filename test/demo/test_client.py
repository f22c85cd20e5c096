"""What the demo's node makes of the messages of a camera, without a ROS graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.demo.client import CameraWatch
from dino_foresight_ros.demo.run_statistics import RunStatistics
from dino_foresight_ros.demo.tracker import ForecastTracker
from dino_foresight_ros.scene import ComparedForecast, Scene
from dino_foresight_ros.topic_names import CameraTopics


class Topics:
    """In the place of a node: keeps the callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[Any], None]] = {}

    def create_subscription(
        self, _kind: type, topic: str, callback: Callable[[Any], None], _qos: object
    ) -> None:
        self.callbacks[topic] = callback


def raw(second: int, value: int, lost_bytes: int = 0) -> Image:
    data = np.full(4 * 6 * 3, value, np.uint8).tobytes()
    return Image(
        header=Header(stamp=Time(sec=second)),
        height=4,
        width=6,
        step=18,
        encoding="rgb8",
        data=data[: len(data) - lost_bytes],
    )


def test_a_cut_raw_frame_counts_as_one_that_shows_nothing() -> None:
    topics, statistics = Topics(), RunStatistics(["left"])
    compared: list[ComparedForecast] = []
    tracker = ForecastTracker(compared.append, 0.0)
    names = CameraTopics.of("left", "{camera}/image")
    watch = CameraWatch(topics, names, statistics, tracker, False, False)  # type: ignore[arg-type]
    watch.listen()
    show = topics.callbacks[names.image]
    show(raw(1, 10))
    tracker.add_forecast(10**9, [Scene(s * 10**9, step=s - 1) for s in (2, 3)], 1.0, None)
    show(raw(2, 20, lost_bytes=5))
    for second in (3, 4, 5):
        show(raw(second, 10 * second))
    tracker.flush()
    assert statistics.frames == 5
    assert statistics.cameras["left"].image_size == (4, 6)
    (forecast,) = compared
    pictures = [None if s.arrived is None else s.arrived.image for s in forecast.steps]
    assert pictures[0] is None
    assert pictures[1] is not None
    assert (pictures[1] == 30).all()
