"""Objects as markers: arrows through the scene, names, and gone when the object is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Duration
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from dino_foresight_ros.nodes.overlay.object_markers import object_markers
from dino_foresight_ros.objects import ObjectPath

HEADER = Header(frame_id="cam")


def path(number: int, *positions: tuple[float, float, float]) -> ObjectPath:
    count = len(positions)
    return ObjectPath(
        number, 1, 0.9, 0.2 * np.arange(count), np.array(positions, float), np.full(count, np.nan),
        np.zeros((count, 2)),
    )  # fmt: skip


def test_an_arrow_leads_from_the_first_to_the_last_known_position() -> None:
    unknown = (np.nan, np.nan, np.nan)
    paths = [path(7, unknown, (1, 0, 9), (2, 0, 8), unknown), path(8, unknown, unknown)]
    arrow, name = object_markers(HEADER, paths, ["road", "car"], Duration(sec=2))
    ends = [(p.x, p.y, p.z) for p in arrow.points]
    assert (arrow.type, arrow.id, ends) == (Marker.ARROW, 7, [(1, 0, 9), (2, 0, 8)])
    assert (arrow.header.frame_id, arrow.lifetime.sec) == ("cam", 2)
    assert (name.text, name.pose.position.x, name.pose.position.z) == ("car 7", 1, 9)
    assert name.pose.position.y < 0  # above: y is down


def test_what_is_gone_is_taken_away() -> None:
    made = object_markers(HEADER, [path(7, (1, 0, 9))], [], Duration(), shown=[7, 9])
    gone = [(m.ns, m.id) for m in made if m.action == Marker.DELETE]
    assert gone == [("object_arrows", 9), ("object_names", 9)]
    assert object_markers(HEADER, [], [], Duration()) == []
