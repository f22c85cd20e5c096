"""The motion of a bag's vehicle, from each kind of source, against integration of a known drive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integrated_twist import integrated
from lidar_bag import transforms
from numpy.typing import NDArray

from dino_foresight_ros.planar_motion import compose
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.recordings.bag_messages import header, make
from dino_foresight_ros.recordings.bag_writer import BagWriter, create_bag

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
RATE_HZ, SECONDS = 20, 3.0
ODOMETRY, TWIST, TF = (
    "nav_msgs/msg/Odometry", "geometry_msgs/msg/TwistStamped", "tf2_msgs/msg/TFMessage",
)  # fmt: skip


def twist(t_s: Any) -> NDArray[np.float64]:
    return np.array([4 + np.sin(t_s), 0.2 * np.cos(t_s), 0.5 * np.cos(0.8 * t_s)])


def driven_between(from_s: float, to_s: float, steps: int = 300) -> NDArray[np.float64]:
    """The motion between two instants."""
    return integrated(twist, from_s, to_s, steps)


TIMES = np.arange(0, SECONDS, 1 / RATE_HZ)
PLACES = [driven_between(0, t) for t in TIMES]


def vector(x: float, y: float, z: float = 0.0, kind: str = "Vector3") -> Any:
    return make(f"geometry_msgs/msg/{kind}", x=float(x), y=float(y), z=float(z))


def odometry(stamp_ns: int, place: NDArray, child: str) -> Any:
    turn = make(
        "geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=float(np.sin(place[2] / 2)),
        w=float(np.cos(place[2] / 2)),
    )  # fmt: skip
    pose = make(
        "geometry_msgs/msg/Pose", position=vector(*place[:2], kind="Point"), orientation=turn
    )
    still = make("geometry_msgs/msg/Twist", linear=vector(0, 0), angular=vector(0, 0))
    return make(
        ODOMETRY,
        header=header(stamp_ns, "odom"),
        child_frame_id=child,
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=still, covariance=np.zeros(36)),
    )


def write_odometry(
    bag: BagWriter, topic: str = "/odom", child: str = "base_link", offset: Any = (0, 0, 0)
) -> None:
    for t, place in zip(TIMES, PLACES, strict=True):
        stamp = START_NS + round(t * NS)
        bag.write(topic, ODOMETRY, stamp, odometry(stamp, compose(place, offset), child))


def write_transforms(bag: BagWriter, *, jumps: bool = False) -> None:
    for number, (t, place) in enumerate(zip(TIMES, PLACES, strict=True)):
        stamp = START_NS + round(t * NS)
        turn = (np.cos(place[2] / 2), 0.0, 0.0, np.sin(place[2] / 2))
        # The localisation corrects itself by metres from map to odom; odom is continuous.
        correction = (5.0 if jumps and number > 20 else 0.0, 0.0, 0.0)
        bag.write("/tf", TF, stamp, transforms([
            (stamp, "map", "odom", correction, (1.0, 0.0, 0.0, 0.0)),
            (stamp, "odom", "base_link", (*place[:2], 0.0), turn),
        ]))  # fmt: skip


def write_twists(bag: BagWriter, topic: str = "/vehicle/twist") -> None:
    for t in TIMES:
        stamp, (vx, vy, w) = START_NS + round(t * NS), twist(t)
        held = make("geometry_msgs/msg/Twist", linear=vector(vx, vy), angular=vector(0, 0, w))
        bag.write(topic, TWIST, stamp, make(TWIST, header=header(stamp, "base_link"), twist=held))


def opened(folder: Path, *writers: Callable[[BagWriter], None]) -> tuple[Any, list[str]]:
    """A bag of ten pictures, from 0.21 s on, and what the writers write."""
    with create_bag(folder / "bag") as bag:
        for write in writers:
            write(bag)
        for number in range(10):
            stamp = START_NS + round((0.21 + 0.2 * number) * NS)
            bag.write_image("/image", np.zeros((8, 8, 3), np.uint8), stamp, "camera")
    warnings: list[str] = []
    return open_recordings([f"bag:{folder / 'bag'}"], warnings.append)[0], warnings


def check(recording: Any, tolerance: float = 5e-3) -> None:
    for i, j in ((0, 1), (0, 7), (8, 3)):
        found = recording.ego.between(i, j)
        expected = driven_between(0.21 + 0.2 * i, 0.21 + 0.2 * j)
        np.testing.assert_allclose(found, expected, atol=tolerance)
    speed = [twist(0.21 + 0.2 * number)[0] for number in range(1, 9)]
    np.testing.assert_allclose(recording.ego.speed_mps[1:9], speed, atol=0.08)


@pytest.mark.parametrize("write", [write_odometry, write_transforms, write_twists])
def test_each_source_gives_the_motion_between_frames(tmp_path: Path, write: Callable):
    recording, warnings = opened(tmp_path, write)
    check(recording, 2e-2 if write is write_twists else 5e-3)
    assert warnings == []


def test_odometry_of_a_sensor_is_moved_to_the_base(tmp_path: Path):
    def mounting(bag: BagWriter) -> None:
        stamp = START_NS
        turn = (np.cos(0.25), 0.0, 0.0, np.sin(0.25))
        frame = transforms([(stamp, "base_link", "lidar", (1.5, 0.3, 0.0), turn)])
        bag.write("/tf_static", TF, stamp, frame, latched=True)

    recording, _ = opened(
        tmp_path, mounting, lambda bag: write_odometry(bag, "/odom", "lidar", (1.5, 0.3, 0.5))
    )
    check(recording)


def test_transforms_from_odom_do_not_jump_with_the_map(tmp_path: Path):
    recording, warnings = opened(tmp_path, lambda bag: write_transforms(bag, jumps=True))
    check(recording)
    assert warnings == []


def test_a_bag_without_any_has_no_motion_and_commands_are_none(tmp_path: Path):
    recording, _ = opened(tmp_path, lambda bag: write_twists(bag, "/cmd_vel"))
    assert recording.ego is None


def test_the_usual_topic_is_taken_and_the_others_are_told(tmp_path: Path):
    recording, warnings = opened(
        tmp_path, write_odometry, lambda bag: write_odometry(bag, "/visual/path", offset=(9, 9, 1))
    )
    check(recording)
    assert any("the motion is that of /odom, not of /visual/path" in text for text in warnings)


def test_a_reset_and_nan_are_unknown_and_told(tmp_path: Path):
    def write(bag: BagWriter) -> None:
        for number, (t, place) in enumerate(zip(TIMES, PLACES, strict=True)):
            stamp = START_NS + round(t * NS)
            place = place - PLACES[25] if number >= 25 else place
            place = place * np.nan if number == 3 else place
            bag.write("/odom", ODOMETRY, stamp, odometry(stamp, place, "base_link"))

    recording, warnings = opened(tmp_path, write)
    assert np.isnan(recording.ego.between(2, 8)).all()  # across the reset at 1.25 s
    assert np.isfinite(recording.ego.between(0, 4)).all()
    assert any("1 messages of /odom left out" in text for text in warnings)
    assert any("the localisation jumps or pauses 1 times" in text for text in warnings)


def test_a_second_run_in_one_bag_is_not_mixed_with_the_first(tmp_path: Path):
    def write(bag: BagWriter) -> None:
        for run in range(2):
            for t, place in zip(TIMES, PLACES, strict=True):
                stamp = START_NS + round(t * NS)
                log = stamp + run * 10 * NS
                bag.write("/odom", ODOMETRY, log, odometry(stamp, place, "base_link"))

    recording, warnings = opened(tmp_path, write)
    assert recording.ego is None
    assert any("the clock of /odom goes back" in text for text in warnings)
