"""Odometry and plans as motion: what is believed, what is not, and paths against plain geometry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from forecast_peers import header_at
from geometry_msgs.msg import PoseStamped, Twist, Vector3
from nav_msgs.msg import Odometry, Path
from ros_bench import Bench

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.poses import OPTICAL_IN_BODY, mounting
from dino_foresight_ros.ros.live_motion import LiveMotion
from dino_foresight_ros.ros.planar import pose_message
from dino_foresight_ros.runtime.candidate import twist_motions

T0_NS = 1_700_000_000_000_000_000
HORIZONS_S = (0.5, 1.0)


@pytest.fixture(scope="module")
def bench(ros_domain: dict[str, str]) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


class NoTransforms:
    """TF knows one frame."""

    def matrix(self, target: str, source: str, stamp_ns: int | None = None) -> np.ndarray:
        if target != "map":
            raise InputError("TF knows no way")
        pose = np.eye(4)
        pose[:2, 3] = 7.0, 8.0
        return pose


@pytest.fixture
def motion(bench: Bench) -> Iterator[LiveMotion]:
    values: Any = {
        "base_frame": "base_link",
        "motion": "hold",
        "odometry_timeout_s": 0.3,
        "path_speed_mps": 0.5,
    }
    node = bench.make("motion")
    live = LiveMotion(node, values, NoTransforms())  # type: ignore[arg-type]
    live.values = values  # type: ignore[attr-defined]
    live.want()
    yield live
    live.close()
    bench.executor.remove_node(node)


def feed(live: LiveMotion, times_s: np.ndarray, speed: float = 2.0, offset_m: float = 0.0) -> None:
    for t in times_s:
        message = Odometry(header=header_at(T0_NS + round(t * 1e9)), child_frame_id="base_link")
        message.header.frame_id = "odom"
        message.pose.pose = pose_message((speed * t + offset_m, 0.0, 0.0))
        message.twist.twist = Twist(linear=Vector3(x=speed))
        live.on_odometry(message)


def path(frame: str, *poses: tuple[float | None, tuple[float, float, float]]) -> Path:
    found = Path()
    found.header.frame_id = frame
    for t, pose in poses:
        header = header_at(0 if t is None else T0_NS + round(t * 1e9))
        found.poses.append(PoseStamped(header=header, pose=pose_message(pose)))
    return found


def test_twist_of_the_odometry_is_held(motion: LiveMotion):
    feed(motion, np.arange(-1, 0.05, 0.05))
    found = motion.until(T0_NS, HORIZONS_S)
    np.testing.assert_allclose(found, twist_motions((2.0, 0.0, 0.0), 9.0, HORIZONS_S), atol=1e-9)
    assert motion.problem is None


def test_base_at_a_frame_between_two_messages_is_where_it_was_then(motion: LiveMotion):
    feed(motion, np.arange(-1, 0.2, 0.05))
    state = motion.state(T0_NS + 20_000_000)
    np.testing.assert_allclose(state.pose, [0.04, 0.0, 0.0], atol=1e-9)


def test_base_at_an_older_frame_is_as_far_back_as_the_twist_says(motion: LiveMotion):
    feed(motion, np.arange(-1, 0.05, 0.05))
    back = motion.moved(T0_NS, T0_NS - 400_000_000)
    np.testing.assert_allclose(back, [-0.8, 0.0, 0.0], atol=1e-9)
    late_ns = T0_NS + 10**10
    assert motion.moved(late_ns, late_ns).tolist() == [0.0, 0.0, 0.0]  # nobody has to know
    with pytest.raises(InputError, match="stale"):
        motion.moved(late_ns, late_ns - 10**8)


@pytest.mark.parametrize(
    ("times_s", "offset_m", "said"),
    [
        (np.arange(-2, -0.5, 0.05), 0.0, "stale: the nearest .* is 0.5.* s before the frame"),
        (np.arange(0.6, 1.0, 0.05), 0.0, "stale: .* after"),
        (np.array([]), 0.0, "no odometry came on"),
    ],
)
def test_odometry_that_is_missing_or_stale_gives_no_motion(
    motion: LiveMotion, times_s: np.ndarray, offset_m: float, said: str
):
    feed(motion, times_s, offset_m=offset_m)
    assert motion.until(T0_NS, HORIZONS_S) is None
    with pytest.raises(InputError, match=said):
        motion.state(T0_NS)


def test_after_a_jump_nothing_is_believed_for_a_while(motion: LiveMotion):
    feed(motion, np.arange(-1, -0.2, 0.05))
    feed(motion, np.arange(-0.2, 1.5, 0.05), offset_m=5.0)  # the localisation was corrected
    assert motion.until(T0_NS, HORIZONS_S) is None
    assert motion.problem is not None
    assert "jumped" in motion.problem
    assert motion.twist(T0_NS).tolist() == [2.0, 0.0, 0.0]
    assert motion.until(T0_NS + 10**9, HORIZONS_S) is not None
    assert motion.problem is None


def test_odometry_that_comes_and_goes_is_said_once(
    motion: LiveMotion, capfd: pytest.CaptureFixture[str]
):
    feed(motion, np.arange(-1, 0.05, 0.05))
    for _ in range(5):
        assert motion.until(T0_NS + 10**9, HORIZONS_S) is None
        assert motion.until(T0_NS, HORIZONS_S) is not None
    said = capfd.readouterr()
    assert (said.out + said.err).count("without motion") <= 1  # an earlier test may have said it
    assert (said.out + said.err).count("motion again") <= 1


def test_plan_is_followed_by_its_stamps_and_one_that_ended_is_not(motion: LiveMotion):
    motion.values["motion"] = "path"  # type: ignore[attr-defined]
    feed(motion, np.arange(-1, 0.05, 0.05))
    assert motion.until(T0_NS, HORIZONS_S) is None
    assert "no plan came" in str(motion.problem)
    motion.on_plan(path("odom", (0.5, (1.0, 0.0, 0.0)), (1.0, (1.0, 2.0, math.pi / 2))))
    found = motion.until(T0_NS, HORIZONS_S)
    np.testing.assert_allclose(found, [[1, 0, 0], [1, 2, math.pi / 2]], atol=1e-9)
    motion.on_plan(path("odom", (-1.0, (1.0, 0.0, 0.0)), (-0.5, (1.0, 2.0, 0.0))))
    assert motion.until(T0_NS, HORIZONS_S) is None
    assert "ended before the newest frame" in str(motion.problem)


def test_none_assumes_nothing(motion: LiveMotion):
    motion.values["motion"] = "none"  # type: ignore[attr-defined]
    feed(motion, np.arange(-1, 0.05, 0.05))
    assert motion.until(T0_NS, HORIZONS_S) is None
    assert motion.problem is None


def test_path_without_stamps_is_driven_at_the_present_speed_from_where_the_base_is(
    motion: LiveMotion,
):
    """A global planner's: some of it was driven already."""
    feed(motion, np.arange(-1, 0.05, 0.05))  # 2 m/s, at 0 now
    places = [(x, 0.0, 0.0) for x in np.arange(-3.0, 4.0, 0.5)]
    found = motion.along(path("odom", *((None, p) for p in places)), T0_NS, HORIZONS_S)
    np.testing.assert_allclose(found, [[1, 0, 0], [2, 0, 0]], atol=1e-4)


def test_path_in_a_frame_that_tf_knows(motion: LiveMotion):
    found = motion.along(
        path("map", (0.5, (8.0, 8.0, 0.0)), (1.0, (9.0, 8.5, 0.0))), T0_NS, HORIZONS_S
    )
    np.testing.assert_allclose(found, [[1, 0, 0], [2, 0.5, 0]], atol=1e-9)


def test_frame_that_nobody_knows_is_named(motion: LiveMotion):
    with pytest.raises(InputError, match="frame mars is unknown"):
        motion.along(path("mars", (1.0, (1, 0, 0)), (2.0, (2, 0, 0))), T0_NS, HORIZONS_S)


def test_mounting_turns_as_rep_103_says():
    straight = mounting([1.0, 2.0, 3.0, 0, 0, 0])
    np.testing.assert_allclose(straight[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(straight[:3, :3], OPTICAL_IN_BODY[:3, :3])
    ahead = np.array([0.0, 0.0, 1.0])  # along the optical axis
    down = mounting([0, 0, 0, 0, 30.0, 0])[:3, :3] @ ahead
    np.testing.assert_allclose(down, [math.cos(math.pi / 6), 0, -0.5], atol=1e-12)
    left = mounting([0, 0, 0, 0, 0, 90.0])[:3, :3] @ ahead
    np.testing.assert_allclose(left, [0, 1, 0], atol=1e-12)
    rolled = mounting([0, 0, 0, 90.0, 0, 0])[:3, :3] @ np.array([1.0, 0, 0])  # its right
    np.testing.assert_allclose(rolled, [0, 0, -1], atol=1e-12)
