"""Transforms as messages; tf2_msgs, which no package index has, is stood in for."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from builtin_interfaces.msg import Time

from dino_foresight_ros.recordings.poses import mounting, pose_matrix
from dino_foresight_ros.ros.transforms import transform_message


@pytest.mark.parametrize("degrees", [(0, 0, 0), (5, 10, -120), (0, 0, 180), (180, 0, 0)])
def test_the_message_leads_back_to_the_pose(
    monkeypatch: pytest.MonkeyPatch, degrees: tuple[float, ...]
) -> None:
    module = ModuleType("tf2_msgs.msg")
    module.TFMessage = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tf2_msgs.msg", module)
    pose = mounting([0.5, -0.25, 1.5, *degrees])
    (found,) = transform_message(Time(sec=7), "base_link", "front", pose).transforms
    assert (found.header.frame_id, found.child_frame_id) == ("base_link", "front")
    assert found.header.stamp.sec == 7
    t, q = found.transform.translation, found.transform.rotation
    assert np.linalg.norm([q.w, q.x, q.y, q.z]) == pytest.approx(1.0)
    back = pose_matrix([t.x, t.y, t.z], [q.w, q.x, q.y, q.z])
    np.testing.assert_allclose(back, pose, atol=1e-9)
