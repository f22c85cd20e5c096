"""Transforms of a recording, against poses that are known and Rodrigues' formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lidar_bag import MS, transforms

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.recordings.poses import inverse
from dino_foresight_ros.recordings.transform_tree import (
    HOLD_NS,
    MAX_GAP_NS,
    TransformTree,
    read_transforms,
)

Sent = tuple[str, int, str, str, Any, Any]
"""(topic, stamp in ms, parent, child, translation, rotation vector)."""


def quaternion(vector: Any) -> tuple[float, ...]:
    """(w, x, y, z) of a rotation vector."""
    vector = np.asarray(vector, float)
    angle = np.linalg.norm(vector)
    axis = vector / angle if angle else vector
    return (float(np.cos(angle / 2)), *map(float, axis * np.sin(angle / 2)))


def pose(translation: Any, vector: Any) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = cv2.Rodrigues(np.asarray(vector, float))[0]
    found[:3, 3] = translation
    return found


def message(sent: list[Sent]) -> Any:
    return transforms(
        [
            (stamp * MS, parent, child, place, quaternion(turn) if len(turn) == 3 else turn)
            for _, stamp, parent, child, place, turn in sent
        ]
    )


def tree(folder: Path, sent: list[Sent]) -> tuple[TransformTree, list[str]]:
    with create_bag(folder / "bag") as bag:
        for one in sent:
            bag.write(one[0], "tf2_msgs/msg/TFMessage", one[1] * MS, message([one]))
    warnings: list[str] = []
    reader = BagReader(folder / "bag")
    try:
        return read_transforms(reader, warnings.append), warnings
    finally:
        reader.close()


STILL = (0.0, 0.0, 0.0)
CAMERA, LIDAR = ((1.7, 0.1, 1.5), (1.2, -1.2, 1.2)), ((0.9, 0.0, 1.8), (0.0, 0.0, -1.5))
FIRST, LAST = ((10.0, 5.0, 0.0), (0.0, 0.0, 0.3)), ((12.0, 5.5, 0.1), (0.1, 0.0, 0.8))
CAR: list[Sent] = [
    ("/tf_static", 0, "base", "camera", *CAMERA),
    ("/tf_static", 0, "/base", "/lidar", *LIDAR),  # with the slashes of ROS 1
    ("/tf", 1000, "odom", "base", *FIRST),
    ("/tf", 1100, "odom", "base", *LAST),
]


def between(share: float) -> np.ndarray:
    """The vehicle's pose: the place along a line, the turn at an even rate."""
    a, b = pose(*FIRST), pose(*LAST)
    turn = cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0] * share
    found = np.eye(4)
    found[:3, :3] = a[:3, :3] @ cv2.Rodrigues(turn)[0]
    found[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
    return found


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_poses_between_samples_are_interpolated(tmp_path: Path, share: float) -> None:
    found, _ = tree(tmp_path, CAR)
    stamp_ns = round((1000 + 100 * share) * MS)
    want = between(share) @ pose(*LIDAR)
    np.testing.assert_allclose(found.lookup("odom", "lidar", stamp_ns), want, atol=1e-9)
    np.testing.assert_allclose(found.lookup("lidar", "odom", stamp_ns), inverse(want), atol=1e-9)


def test_the_short_way_round_is_taken(tmp_path: Path) -> None:
    turned = quaternion((0, 0, 0.4))
    sent: list[Sent] = [
        ("/tf", 0, "odom", "base", STILL, (0.0, 0.0, 0.2)),
        ("/tf", 100, "odom", "base", STILL, tuple(-v for v in turned)),  # the same turn
    ]
    found, _ = tree(tmp_path, sent)
    middle = found.lookup("odom", "base", 50 * MS)
    np.testing.assert_allclose(middle, pose(STILL, (0, 0, 0.3)), atol=1e-9)


def test_frames_of_one_body_need_no_instant(tmp_path: Path) -> None:
    found, _ = tree(tmp_path, CAR)
    want = inverse(pose(*CAMERA)) @ pose(*LIDAR)
    np.testing.assert_allclose(found.lookup("camera", "lidar", 10**15), want, atol=1e-12)
    assert found.is_rigid("camera", "lidar")
    assert not found.is_rigid("camera", "odom")
    assert found.root("camera", "lidar") == "odom"


def test_nothing_is_extrapolated_or_interpolated_over_long_gaps(tmp_path: Path) -> None:
    late = 1100 + MAX_GAP_NS // MS + 1
    found, _ = tree(tmp_path, [*CAR, ("/tf", late, "odom", "base", *FIRST)])
    hold = HOLD_NS // MS
    np.testing.assert_allclose(
        found.lookup("odom", "base", (1000 - hold) * MS), pose(*FIRST), atol=1e-12
    )
    np.testing.assert_allclose(
        found.lookup("odom", "base", (1100 + hold) * MS), pose(*LAST), atol=1e-12
    )
    for stamp in (1000 - hold - 1, 1100 + hold + 1, late - hold - 1, late + hold + 1):
        assert found.lookup("odom", "base", stamp * MS) is None, stamp


def test_of_several_samples_with_one_stamp_the_last_counts(tmp_path: Path) -> None:
    found, _ = tree(tmp_path, [*CAR, ("/tf", 1000, "odom", "base", *LAST)])
    np.testing.assert_allclose(found.lookup("odom", "base", 1000 * MS), pose(*LAST), atol=1e-12)


def test_a_static_frame_that_was_sent_anew_lies_where_it_was_sent_last(tmp_path: Path) -> None:
    found, _ = tree(tmp_path, [*CAR, ("/robot/tf_static", 2000, "base", "camera", *LIDAR)])
    np.testing.assert_allclose(found.lookup("base", "camera", 0), pose(*LIDAR), atol=1e-12)


def test_samples_need_not_come_in_order(tmp_path: Path) -> None:
    with create_bag(tmp_path / "bag") as bag:
        for log, one in enumerate(reversed(CAR)):
            bag.write(one[0], "tf2_msgs/msg/TFMessage", log, message([one]))
    reader = BagReader(tmp_path / "bag")
    found = read_transforms(reader, pytest.fail)
    reader.close()
    np.testing.assert_allclose(found.lookup("odom", "base", 1025 * MS), between(0.25), atol=1e-9)


def test_bad_transforms_and_second_parents_are_told(tmp_path: Path) -> None:
    sent: list[Sent] = [
        *CAR,
        ("/tf", 1050, "odom", "base", (np.nan, 0, 0), STILL),
        ("/tf", 1050, "odom", "base", STILL, (0.0, 0.0, 0.0, 0.0)),
        ("/tf", 1060, "map", "base", STILL, STILL),
    ]
    found, warnings = tree(tmp_path, sent)
    np.testing.assert_allclose(found.lookup("odom", "base", 1050 * MS), between(0.5), atol=1e-9)
    assert any("2 transforms left out" in w and "odom to base" in w for w in warnings)
    assert any("odom is taken, not map" in w for w in warnings)


def test_missing_links_are_named(tmp_path: Path) -> None:
    found, _ = tree(tmp_path, [*CAR, ("/tf_static", 0, "mast", "radar", STILL, STILL)])
    with pytest.raises(InputError, match=r"'sonar' is in neither .* base, camera, lidar"):
        found.lookup("camera", "sonar", 0)
    with pytest.raises(InputError, match=r"'camera' \(below 'odom'\) and 'radar' \(below 'mast'"):
        found.lookup("camera", "radar", 0)


def test_circles_are_refused(tmp_path: Path) -> None:
    circle: list[Sent] = [("/tf", 0, "a", "b", STILL, STILL), ("/tf", 0, "b", "a", STILL, STILL)]
    found, _ = tree(tmp_path, circle)
    with pytest.raises(InputError, match="its own ancestor"):
        found.root("a")
