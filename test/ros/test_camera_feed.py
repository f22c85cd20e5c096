"""Warnings of what lasts: said once, whatever numbers change in them."""

from __future__ import annotations

import itertools
from unittest import mock

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros.camera_feed import RepeatedWarnings


def said(node: mock.Mock) -> list[str]:
    return [call.args[0] for call in node.get_logger().warning.call_args_list]


def test_an_age_that_grows_is_said_once_and_cameras_each_for_themselves() -> None:
    node = mock.Mock()
    warnings = RepeatedWarnings(node)
    with mock.patch("time.monotonic", side_effect=itertools.count(0, 0.2)):
        for k in range(150):
            for camera in ("cam_1", "cam_2"):
                age_s = 0.6 + 0.2 * k
                warnings.warn(f"{camera}: the nearest on /odom2 is {age_s:.2g} s before the frame")
    assert [text.split(" is ")[0] for text in said(node)] == [
        "cam_1: the nearest on /odom2",
        "cam_2: the nearest on /odom2",
    ]


def test_what_lasts_is_said_again_where_it_comes_back_after_a_while() -> None:
    node = mock.Mock()
    warnings = RepeatedWarnings(node)
    with mock.patch("time.monotonic", side_effect=[0.0, 5.0, 16.0]):
        for _ in range(3):
            warnings.warn("no camera_info came")
    assert said(node) == ["no camera_info came"] * 2


def test_steps_that_are_broken_are_told_one_by_one() -> None:
    node = mock.Mock()
    warnings = RepeatedWarnings(node)
    for step, size in itertools.product((1, 2), (7, 8)):
        with warnings.of_broken(f"step {step} not drawn"):
            raise InputError(f"it has {size} bytes")
    assert said(node) == ["step 1 not drawn: it has 7 bytes", "step 2 not drawn: it has 7 bytes"]
