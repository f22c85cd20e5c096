"""Which frames go together: message_filters' choice and the node's own, and when each is used."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from dino_foresight_ros.nodes.forecast.camera_groups import build_grouper, synchronizer_choice
from dino_foresight_ros.ros.names import camera_topics
from dino_foresight_ros.runtime.grouping import smallest_spread

PARAMETERS = {"cameras": ["a", "b"], "sync_tolerance_s": 0.05, "stream_timeout_s": 5.0}

cases = given(
    stamp=st.integers(1000, 1300),
    others=st.lists(
        st.lists(st.integers(1000, 1300), min_size=1, max_size=5, unique=True), max_size=4
    ),
    tolerance=st.integers(0, 150),
)


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


def test_own_choice_where_message_filters_is_absent(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "message_filters", None)
    assert synchronizer_choice(warnings.append) is None
    assert build_grouper(PARAMETERS, warnings.append) is not None
    assert warnings == []


def test_broken_message_filters_is_said_once_and_replaced(
    installed: Any, warnings: list[str]
) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("another signature")

    installed.SimpleFilter = object
    installed.ApproximateTimeSynchronizer = broken
    choose = synchronizer_choice(warnings.append)
    assert choose is not None
    for _ in range(3):
        assert choose(1000, [[980, 1010]], 20) == [1]
    assert len(warnings) == 1
    assert "message_filters failed (TypeError: another signature)" in warnings[0]


@pytest.mark.skipif(
    synchronizer_choice(lambda _: None) is None, reason="needs ROS 2's message_filters"
)
@cases
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_message_filters_finds_a_set_where_there_is_one(
    stamp: int, others: list[list[int]], tolerance: int
) -> None:
    warned: list[str] = []
    choose = synchronizer_choice(warned.append)
    assert choose is not None
    chosen = choose(stamp, others, tolerance)
    best = smallest_spread(stamp, others, tolerance)
    assert warned == []
    if best is None:
        assert chosen is None
        return
    # It takes the first set within the tolerance, nearest frames first, not always the closest.
    near = [[s for s in stamps if abs(s - stamp) <= tolerance] for stamps in others]
    assert chosen is not None
    stamps = [stamp, *(s[i] for s, i in zip(others, chosen, strict=True))]
    assert max(stamps) - min(stamps) <= tolerance
    assert any(
        sorted([stamp, *combination]) == sorted(stamps) for combination in itertools.product(*near)
    )


def test_topics_of_cameras_follow_the_template() -> None:
    one, two = camera_topics(["cam_front", "cam_back"], "/{camera}/image_rect/compressed")
    assert one.image == "/cam_front/image_rect/compressed"
    assert one.camera_info == "/cam_front/camera_info"
    assert two.outputs == "cam_back/foresight"
    (only,) = camera_topics([], "{camera}/image")
    assert only == ("", "image", "camera_info", "foresight")
