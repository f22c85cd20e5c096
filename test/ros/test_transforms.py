"""Transforms by the real tf2_ros, of a peer that publishes /tf and /tf_static over DDS."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_bench import Bench

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.poses import mounting, pose_matrix
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.ros.transforms import Transforms

T0_NS = 1_700_000_000_000_000_000
S = 1_000_000_000


@pytest.fixture(scope="module")
def bench(ros_domain: dict[str, str]) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def stamped(parent: str, child: str, x: float, turn: list[float], stamp_ns: int = 0) -> object:
    found = TransformStamped(child_frame_id=child)
    found.header.frame_id, found.header.stamp = parent, ns_to_time(stamp_ns)
    found.transform.translation.x, found.transform.translation.z = x, 1.4
    rotation = found.transform.rotation
    rotation.w, rotation.x, rotation.y, rotation.z = turn
    return found


def test_where_tf2_ros_is_absent_the_frame_is_told(bench: Bench) -> None:
    with mock.patch.dict(sys.modules, {"tf2_ros": None}):
        transforms = Transforms(bench.make("without_tf"))
    assert np.array_equal(transforms.matrix("map", "map"), np.eye(4))
    with pytest.raises(
        InputError, match="camera is unknown in base_link: tf2_ros is not installed"
    ):
        transforms.matrix("base_link", "camera")


class Buffer:
    """tf2's, of a base that moved until an instant, and of a camera that never moves."""

    def lookup_transform(self, target: str, source: str, when: Any) -> object:
        if source == "camera":
            return stamped(target, source, 0.3, [1.0, 0.0, 0.0, 0.0])
        if when.nanoseconds not in (0, T0_NS):
            raise LookupError("extrapolation into the future")
        return stamped(target, source, 2.0, [1.0, 0.0, 0.0, 0.0], T0_NS)


@pytest.mark.parametrize(
    ("late_s", "said"),
    [(0.0, None), (0.4, None), (-0.4, None), (3.0, "is 3 s old"), (-3.0, "begins 3 s after")],
)
def test_the_newest_transform_stands_for_a_later_instant_for_a_moment_only(
    bench: Bench, late_s: float, said: str | None
) -> None:
    with mock.patch.dict(sys.modules, {"tf2_ros": None}):
        transforms = Transforms(bench.make("with_fake_tf"))
    stamp_ns = T0_NS + round(late_s * S)
    with mock.patch.object(transforms, "_buffer", Buffer()):
        assert transforms.matrix("base_link", "camera", stamp_ns)[0, 3] == pytest.approx(0.3)
        assert transforms.matrix("odom", "base_link")[0, 3] == pytest.approx(2.0)
        if said is None:
            assert transforms.matrix("odom", "base_link", stamp_ns)[0, 3] == pytest.approx(2.0)
            return
        with pytest.raises(InputError, match=f"TF from odom to base_link {said}"):
            transforms.matrix("odom", "base_link", stamp_ns)


def test_frame_that_rides_along_is_told_from_one_that_moves(bench: Bench) -> None:
    with mock.patch.dict(sys.modules, {"tf2_ros": None}):
        transforms = Transforms(bench.make("with_other_tf"))
    assert transforms.fixed("base_link", "camera") is None  # nobody knows
    with mock.patch.object(transforms, "_buffer", Buffer()):
        camera = transforms.fixed("base_link", "camera")
        assert camera == pytest.approx(transforms.matrix("base_link", "camera"))
        assert transforms.fixed("odom", "base_link") is None
    assert transforms.fixed("odom", "odom") == pytest.approx(np.eye(4))


def test_transforms_are_those_that_a_peer_publishes(bench: Bench) -> None:
    pytest.importorskip("tf2_ros", reason="needs tf2_ros, which no package index has")
    from tf2_msgs.msg import TFMessage

    transforms = Transforms(bench.make("hearer"))
    with pytest.raises(InputError, match="TF knows no way from camera_optical to base_link"):
        transforms.matrix("base_link", "camera_optical")
    peer = bench.make("peer")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = peer.create_publisher(TFMessage, "/tf_static", latched)
    moving = peer.create_publisher(TFMessage, "/tf", 100)
    forward = [0.5, -0.5, 0.5, -0.5]  # of an optical frame that looks along x
    static.publish(TFMessage(transforms=[stamped("base_link", "camera_optical", 0.3, forward)]))
    level = [1.0, 0.0, 0.0, 0.0]
    ways = [stamped("odom", "base_link", float(k), level, T0_NS + k * S) for k in (1, 2)]

    def knows(target: str, source: str, stamp_ns: int | None = None) -> bool:
        try:
            transforms.matrix(target, source, stamp_ns)
        except InputError:
            return False
        return True

    assert bench.spin_until(lambda: knows("base_link", "camera_optical"))
    expected = pose_matrix([0.3, 0.0, 1.4], forward)
    assert transforms.matrix("base_link", "camera_optical") == pytest.approx(expected)
    assert transforms.matrix("base_link", "camera_optical") == pytest.approx(
        mounting([0.3, 0.0, 1.4, 0.0, 0.0, 0.0])
    )
    assert bench.spin_until(lambda: moving.get_subscription_count() > 0)
    moving.publish(TFMessage(transforms=ways))
    assert bench.spin_until(lambda: knows("odom", "base_link"))
    assert transforms.fixed("base_link", "camera_optical") == pytest.approx(expected)
    assert transforms.fixed("base_link", "odom") is None
    # Between two instants evenly; after the last one, and without an instant, the newest.
    between = transforms.matrix("odom", "base_link", T0_NS + 3 * S // 2)
    assert between[:3, 3] == pytest.approx((1.5, 0.0, 1.4))
    for stamp_ns in (T0_NS + 12 * S // 5, None):
        newest = transforms.matrix("odom", "base_link", stamp_ns)
        assert newest[:3, 3] == pytest.approx((2.0, 0.0, 1.4))
    with pytest.raises(InputError, match="TF from odom to base_link is 7 s old"):
        transforms.matrix("odom", "base_link", T0_NS + 9 * S)
    chain = transforms.matrix("odom", "camera_optical", T0_NS + S)
    assert chain == pytest.approx(pose_matrix([1.0, 0.0, 1.4], level) @ expected)
