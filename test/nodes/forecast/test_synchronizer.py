"""Which synchronizer brings cameras together, and that message_filters' loses no frame."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from dino_foresight_ros.nodes.forecast.synchronizer import (
    ApproximateTime,
    build_grouper,
    choose_synchronizer,
)
from dino_foresight_ros.ros.names import camera_topics
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.grouping import ClosestStamps, Grouper

MS = 1_000_000
PARAMETERS = {"cameras": ["a", "b"], "sync_tolerance_s": 0.05, "stream_timeout_s": 5.0}


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A stand-in where message_filters is not installed."""
    module = types.ModuleType("message_filters")
    monkeypatch.setitem(sys.modules, "message_filters", module)
    return module


def test_a_single_camera_has_no_grouper(warnings: list[str]) -> None:
    for cameras in ([], ["front"]):
        assert build_grouper(PARAMETERS | {"cameras": cameras}, warnings.append) is None


def test_own_synchronizer_where_message_filters_is_absent(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "message_filters", None)
    assert isinstance(choose_synchronizer(50 * MS, warnings.append), ClosestStamps)
    assert build_grouper(PARAMETERS, warnings.append) is not None
    assert warnings == []


def test_broken_message_filters_is_said_and_replaced(installed: Any, warnings: list[str]) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("another signature")

    installed.SimpleFilter = object
    installed.ApproximateTimeSynchronizer = broken
    assert isinstance(choose_synchronizer(50 * MS, warnings.append), ClosestStamps)
    assert len(warnings) == 1
    assert "message_filters failed (TypeError: another signature)" in warnings[0]


def has_message_filters() -> bool:
    try:
        ApproximateTime(0)
    except ImportError:
        return False
    return True


needs_message_filters = pytest.mark.skipif(
    not has_message_filters(), reason="needs ROS 2's message_filters"
)


@needs_message_filters
@pytest.mark.parametrize(("apart_ms", "groups"), [(0, 1), (50, 1), (51, 0)])
def test_message_filters_keeps_to_the_tolerance(apart_ms: int, groups: int) -> None:
    one = ApproximateTime(50 * MS)
    assert one.add(QueuedFrame(None, 10**18, 0.0, "a"), "ab") == []
    assert len(one.add(QueuedFrame(None, 10**18 + apart_ms * MS, 0.0, "b"), "ab")) == groups


@needs_message_filters
def test_message_filters_forgets_a_frame_that_went_on_alone() -> None:
    one = ApproximateTime(50 * MS)
    frame = QueuedFrame(None, 10**18, 0.0, "a")
    one.add(frame, "ab")
    one.remove(frame)
    assert one.add(QueuedFrame(None, 10**18, 0.0, "b"), "ab") == []


@needs_message_filters
def test_camera_that_is_gone_is_not_waited_for_and_one_that_returns_is() -> None:
    one = ApproximateTime(50 * MS)
    first, second, third = (QueuedFrame(None, 10**18, 0.0, camera) for camera in "abc")
    assert one.add(first, "abc") == []
    assert one.add(second, "ab") == [[first, second]]
    assert one.add(first, "ab") == []
    assert one.add(third, "abc") == []
    assert one.add(second, "abc") == [[first, second, third]]


@needs_message_filters
@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(-60, 60) | st.just(-3000),  # a stamp that jumps back
            st.sampled_from([0.0, 0.001, 0.02, 3.0]),
        ),
        max_size=60,
    )
)
def test_every_frame_comes_out_once_in_order_with_message_filters(frames: Any) -> None:
    grouper = Grouper(50 * MS, 2.0, ApproximateTime(50 * MS))
    now_s, put, groups = 0.0, [], []
    for index, (camera, jitter_ms, pause_s) in enumerate(frames):
        now_s += pause_s
        groups += grouper.due(now_s)
        put.append(
            QueuedFrame(index, 10**18 + (round(now_s * 1000) + jitter_ms) * MS, now_s, camera)
        )
        groups += grouper.put(put[-1])
    groups += grouper.due(now_s + 1.0)
    for group in groups:
        assert len({frame.camera for frame in group}) == len(group)
        stamps = [frame.stamp_ns for frame in group]
        assert max(stamps) - min(stamps) <= 50 * MS
    out = [frame for group in groups for frame in group]
    assert sorted(f.payload for f in out) == list(range(len(put)))
    for camera in "abc":
        assert [f for f in out if f.camera == camera] == [f for f in put if f.camera == camera]


@needs_message_filters
def test_cameras_in_step_form_whole_groups_with_message_filters() -> None:
    grouper = Grouper(50 * MS, 2.0, ApproximateTime(50 * MS))
    sizes = []
    for k in range(10):
        for place, camera in enumerate("abc"):
            received_s = 0.2 * k + 0.01 * place
            grouper.due(received_s)
            frame = QueuedFrame(None, 10**18 + (200 * k + place) * MS, received_s, camera)
            sizes += [len(group) for group in grouper.put(frame)]
    assert sizes[-9:] == [3] * 9


def test_topics_of_cameras_follow_the_template() -> None:
    one, two = camera_topics(["cam_front", "cam_back"], "/{camera}/image_rect/compressed")
    assert one.image == "/cam_front/image_rect/compressed"
    assert one.camera_info == "/cam_front/camera_info"
    assert two.outputs == "cam_back/foresight"
    (only,) = camera_topics([], "{camera}/image")
    assert only == ("", "image", "camera_info", "foresight")
