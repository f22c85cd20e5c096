"""The synthetic camera node as a process of its own, seen over DDS."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from forecast_peers import NodeProcess
from nav_msgs.msg import Odometry
from ros_bench import Bench
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.nodes.synthetic_camera import node as synthetic_camera_node
from dino_foresight_ros.planar_motion import compose, inverse, of_twist
from dino_foresight_ros.ros.planar import planar_pose, planar_twist
from dino_foresight_ros.synthetic import World, WorldConfig

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


def stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def test_it_publishes_the_worlds_frames_and_truth_and_then_ends(
    listener: Listener, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    images = listener.subscribe(Image, "image")
    infos = listener.subscribe(CameraInfo, "camera_info")
    truth = {
        name: listener.subscribe(Image, f"ground_truth/{name}")
        for name in ("segmentation", "depth", "normals")
    }
    clocks = listener.subscribe(Clock, "/clock")
    odometry = listener.subscribe(Odometry, "odom")
    process = NodeProcess(
        ros_domain,
        tmp_path / "log",
        *SMALL,
        "seed:=6",
        "frames:=6",
        "rate_hz:=10.0",
        "publish_clock:=true",
        "render_ahead:=4",
        "frame_id:=front",
        "wait_for_subscriber_s:=60.0",
        program=synthetic_camera_node.main,
    )
    everything = (images, infos, clocks, odometry, *truth.values())
    complete = listener.spin_until(lambda: all(len(kept) == 6 for kept in everything))
    assert process.wait() == 0, process.text
    assert "Traceback" not in process.text
    assert complete, {len(kept) for kept in everything}

    stamps = [stamp_ns(message) for message in images]
    assert np.allclose(np.diff(stamps), 1e8, atol=2)
    assert [c.clock.sec * 10**9 + c.clock.nanosec for c in clocks] == stamps
    world = World(WorldConfig(seed=6, width=96, height=54, frame_rate_hz=10))
    poses = [planar_pose(message.pose.pose) for message in odometry]
    # Twists that are held lead from pose to pose.
    for before, after, message in zip(poses, poses[1:], odometry, strict=False):
        moved = compose(inverse(before), after)
        twist = planar_twist(message.twist.twist)
        assert moved == pytest.approx(of_twist(twist, 0.1), abs=0.02)
    assert poses[0] == pytest.approx(world.base_pose(world.ego_state(0.0)))
    assert (odometry[0].header.frame_id, odometry[0].child_frame_id) == ("odom", "base_link")
    assert [stamp_ns(message) for message in odometry] == stamps
    expected = list(world.frames(6))
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
    listener: Listener, ros_domain: dict[str, str], tmp_path: Path, number: int
) -> None:
    images = listener.subscribe(Image, "image")
    main = synthetic_camera_node.main
    process = NodeProcess(ros_domain, tmp_path / "log", *SMALL, program=main)
    assert listener.spin_until(lambda: len(images) > 2)
    assert process.end(number) == 0, process.text


def test_frames_that_are_left_out_leave_no_gap_in_the_odometry(
    listener: Listener, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    odometry = listener.subscribe(Odometry, "odom")
    images = listener.subscribe(Image, "image")
    process = NodeProcess(
        ros_domain, tmp_path / "log", *SMALL, "frames:=3", "rate_hz:=1.5",
        "wait_for_subscriber_s:=60.0", program=synthetic_camera_node.main,
    )  # fmt: skip
    assert listener.spin_until(
        lambda: len(images) == 3 and stamp_ns(images[-1]) in {stamp_ns(m) for m in odometry}
    )
    assert process.wait() == 0, process.text
    stamps = [stamp_ns(message) for message in odometry]
    assert len(stamps) >= 8  # between the last two frames, whenever it was discovered
    assert max(np.diff(stamps)) < 0.11e9
