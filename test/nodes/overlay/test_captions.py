"""Captions: where they stand, how long, and whether an age is believed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Duration
from visualization_msgs.msg import Marker

from dino_foresight_ros.msg import Forecast
from dino_foresight_ros.nodes.overlay.captions import (
    believable_age_ms,
    caption_markers,
    lifetime_of,
)
from dino_foresight_ros.recordings import CameraModel
from dino_foresight_ros.ros.camera_info import camera_info_msg
from dino_foresight_ros.ros.clouds import depth_to_points
from dino_foresight_ros.ros.stream_watch import PeriodWatch
from dino_foresight_ros.scene import Scene

S = 1_000_000_000
DEPTH = np.full((30, 40), 30.0, np.float32)
SCENES = [Scene(k, step=k, horizon_s=0.2 * k, depth=DEPTH, depth_is_metric=True) for k in (1, 2, 3)]


def markers_of(fov_deg: float | None) -> list[Marker]:
    message = Forecast(trained=True)
    info = None
    if fov_deg is not None:
        info = camera_info_msg(CameraModel.from_fov(40, 30, fov_deg), message.header)
    made = caption_markers(message, SCENES, 85.0, Duration(sec=2), info)
    return list(made.markers)


@pytest.mark.parametrize("fov_deg", [40.0, 70.0, 80.0])
def test_captions_stand_beside_the_cloud_the_first_step_on_top(fov_deg: float) -> None:
    texts = [m for m in markers_of(fov_deg) if m.action == Marker.ADD]
    assert [m.text for m in texts] == [f"step {k} t+{0.2 * k:.2f} s age 85 ms" for k in (1, 2, 3)]
    heights = [m.pose.position.y for m in texts]  # y is down
    assert heights == sorted(heights)
    assert min(np.diff(heights)) > texts[0].scale.z  # lines do not overlap
    info = camera_info_msg(CameraModel.from_fov(40, 30, fov_deg), texts[0].header)
    cloud = depth_to_points(DEPTH, None, info, texts[0].header)
    left = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 4)[:, 0].min()
    # A letter is about half as wide as high.
    right_ends = [m.pose.position.x + len(m.text) * m.scale.z * 0.5 / 2 for m in texts]
    assert max(right_ends) < left
    assert {m.pose.position.z for m in texts} == {30.0}  # as far as this cloud


def test_a_camera_without_calibration_is_told_what_to_do_until_it_has_one() -> None:
    *steps, hint = markers_of(None)
    assert len(steps) == 3
    assert hint.id == 0
    assert "fov_deg:=70.0" in hint.text
    assert hint.pose.position.y > max(m.pose.position.y for m in steps)
    *steps, gone = markers_of(70.0)
    assert (gone.id, gone.action, gone.ns) == (0, Marker.DELETE, steps[0].ns)


@pytest.mark.parametrize(
    ("period_s", "lifetime_s"), [(None, 30.0), (0.1, 2.0), (1.0, 3.0), (4.5, 13.5)]
)
def test_a_caption_outlives_the_time_to_the_next_forecast(
    period_s: float | None, lifetime_s: float
) -> None:
    arrivals = PeriodWatch(least=1, most=5)
    for index in range(4 if period_s else 1):
        arrivals.frame(S + round(index * (period_s or 0.0) * S))
    lifetime = lifetime_of(arrivals)
    assert lifetime.sec + lifetime.nanosec / 1e9 == pytest.approx(lifetime_s)


@pytest.mark.parametrize(
    ("age_s", "latency_s", "is_shown"),
    [
        (0.2, 0.1, True),
        (4.5, 4.0, True),  # a slow machine
        (38.6, 0.1, False),  # a recording played slowly
        (1.3, 0.1, False),
        (-0.1, 0.1, False),  # one that is played fast
    ],
)
def test_an_age_is_shown_where_stamps_are_of_the_walls_clock(
    age_s: float, latency_s: float, is_shown: bool
) -> None:
    now_ns = 1_700_000_000 * S
    age_ms = believable_age_ms(now_ns, now_ns - round(age_s * S), latency_s)
    assert age_ms == (pytest.approx(age_s * 1000.0) if is_shown else None)
