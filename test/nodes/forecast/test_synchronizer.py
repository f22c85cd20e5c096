"""Which synchronizer brings cameras together, and that message_filters' loses no frame."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from dino_foresight_ros.nodes.forecast.synchronizer import (
    approximate_time,
    build_grouper,
    choose_synchronizer,
)
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.grouping import Grouper, closest_stamps
from dino_foresight_ros.topic_names import camera_topics

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
    assert choose_synchronizer(warnings.append) is closest_stamps
    assert build_grouper(PARAMETERS, warnings.append) is not None
    assert warnings == []


def test_broken_message_filters_is_said_and_replaced(installed: Any, warnings: list[str]) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("another signature")

    installed.SimpleFilter = object
    installed.ApproximateTimeSynchronizer = broken
    assert choose_synchronizer(warnings.append) is closest_stamps
    assert len(warnings) == 1
    assert "message_filters failed (TypeError: another signature)" in warnings[0]


def frame(camera: str, after_ms: int = 0) -> QueuedFrame:
    return QueuedFrame(None, 10**18 + after_ms * MS, 0.0, camera)


needs_message_filters = pytest.mark.skipif(
    importlib.util.find_spec("message_filters") is None, reason="needs ROS 2's message_filters"
)


@needs_message_filters
def test_message_filters_are_used_where_they_are_installed(warnings: list[str]) -> None:
    assert choose_synchronizer(warnings.append) is approximate_time
    assert warnings == []


@needs_message_filters
@pytest.mark.parametrize(("apart_ms", "is_found"), [(0, True), (50, True), (51, False)])
def test_message_filters_keeps_to_the_tolerance(apart_ms: int, is_found: bool) -> None:
    first, second = frame("a"), frame("b", apart_ms)
    found = approximate_time(second, {"a": [first]}, 50 * MS)
    assert found == ([first, second] if is_found else None)


@needs_message_filters
def test_message_filters_takes_the_frames_nearest_to_the_newest_one() -> None:
    early, near = frame("a", 0), frame("a", 40)
    newest, other = frame("b", 30), frame("c", 25)
    assert approximate_time(newest, {"a": [early, near], "c": [other]}, 50 * MS) == [
        near,
        other,
        newest,
    ]
    # By itself a group without the newest frame is left to time.
    assert approximate_time(newest, {"a": [early], "c": []}, 50 * MS) is None


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
    grouper = Grouper(50 * MS, 2.0, approximate_time)
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
    grouper = Grouper(50 * MS, 2.0, approximate_time)
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
