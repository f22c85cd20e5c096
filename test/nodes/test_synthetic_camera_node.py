"""The synthetic camera node as a process of its own, seen over DDS."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from ros_bench import TIMEOUT_S, Bench
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic import World, WorldConfig

NODE = [sys.executable, "-m", "dino_foresight_ros.nodes.synthetic_camera_node", "--ros-args"]
SMALL = ("width:=96", "height:=54")


class Listener(Bench):
    """A node of the test's that keeps what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.node = self.make("test_listener")

    def subscribe(self, kind: type, topic: str) -> list[Any]:
        kept: list[Any] = []
        self.node.create_subscription(kind, topic, kept.append, 50)
        return kept


@pytest.fixture
def listener(ros_domain: dict[str, str]) -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def start(environment: dict[str, str], *parameters: str) -> subprocess.Popen[str]:
    arguments = [word for p in parameters for word in ("-p", p)]
    return subprocess.Popen(
        [*NODE, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_it_publishes_the_worlds_frames_and_truth_and_then_ends(
    listener: Listener, ros_domain: dict[str, str]
) -> None:
    images = listener.subscribe(Image, "image")
    infos = listener.subscribe(CameraInfo, "camera_info")
    truth = {
        name: listener.subscribe(Image, f"ground_truth/{name}")
        for name in ("segmentation", "depth", "normals")
    }
    clocks = listener.subscribe(Clock, "/clock")
    process = start(
        ros_domain,
        *SMALL,
        "seed:=6",
        "frames:=6",
        "rate_hz:=10.0",
        "publish_clock:=true",
        "frame_id:=front",
        "wait_for_subscriber_s:=20.0",
    )
    everything = (images, infos, clocks, *truth.values())
    complete = listener.spin_until(lambda: all(len(kept) == 6 for kept in everything))
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert complete, {len(kept) for kept in everything}

    stamps = [stamp_ns(message) for message in images]
    assert np.allclose(np.diff(stamps), 1e8, atol=2)
    assert [c.clock.sec * 10**9 + c.clock.nanosec for c in clocks] == stamps
    expected = list(World(WorldConfig(seed=6, width=96, height=54, frame_rate_hz=10)).frames(6))
    for index, frame in enumerate(expected):
        image, info = images[index], infos[index]
        assert (image.encoding, image.header.frame_id) == ("rgb8", "front")
        assert bytes(image.data) == frame.image.tobytes()
        assert stamp_ns(info) == stamps[index]
        assert np.allclose(np.reshape(info.k, (3, 3)), frame.k)
        labels = truth["segmentation"][index]
        assert (labels.encoding, stamp_ns(labels)) == ("mono8", stamps[index])
        assert bytes(labels.data) == frame.segmentation.tobytes()
        depth = np.frombuffer(truth["depth"][index].data, np.float32).reshape(54, 96)
        assert truth["depth"][index].encoding == "32FC1"
        assert np.array_equal(depth, frame.depth, equal_nan=True)
        assert np.isnan(depth[frame.segmentation == CLASS_IDS["sky"]]).all()
        normals = np.frombuffer(truth["normals"][index].data, np.float32).reshape(54, 96, 3)
        assert truth["normals"][index].encoding == "32FC3"
        assert np.array_equal(normals, frame.normals, equal_nan=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_endless_drive_ends_cleanly_on_a_signal(
    listener: Listener, ros_domain: dict[str, str], number: int
) -> None:
    images = listener.subscribe(Image, "image")
    process = start(ros_domain, *SMALL)
    assert listener.spin_until(lambda: len(images) > 2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("scene:=moon", ("scene", "moon", "urban", "highway")),
        ("width:=1", ("width", "1", "16 to 8192")),
        ("seed:=text", ("seed", "whole number")),
    ],
)
def test_a_bad_parameter_is_refused_in_one_line(
    ros_domain: dict[str, str], parameter: str, words: tuple[str, ...]
) -> None:
    process = start(ros_domain, parameter)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    lines = [line for line in output.splitlines() if parameter.split(":=")[0] in line]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
