"""What the demo's node makes of the messages of a camera."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Time
from ros_bench import Bench
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.demo.client import CameraWatch
from dino_foresight_ros.demo.run_statistics import RunStatistics
from dino_foresight_ros.demo.tracker import ForecastTracker
from dino_foresight_ros.scene import ComparedForecast, Scene
from dino_foresight_ros.topic_names import CameraTopics


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


@pytest.fixture
def bench(ros_domain: dict[str, str]) -> Iterator[Bench]:
    bench = Bench(int(ros_domain["ROS_DOMAIN_ID"]))
    yield bench
    bench.close()


def test_a_cut_raw_frame_counts_as_one_that_shows_nothing(bench: Bench) -> None:
    node, statistics = bench.make("demo"), RunStatistics(["left"])
    compared: list[ComparedForecast] = []
    tracker = ForecastTracker(compared.append, 0.0)
    names = CameraTopics.of("left", "{camera}/image")
    watch = CameraWatch(node, names, statistics, tracker, False, False)
    watch.listen()
    (show,) = [s.callback for s in node.subscriptions if s.topic_name == f"/{names.image}"]
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
