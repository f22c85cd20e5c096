"""Time messages and nanoseconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from builtin_interfaces.msg import Time
from rclpy.time import Time as RclpyTime

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.ros.time import ns_to_time, stamp_problem, time_to_ns


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_agree_with_rclpy(stamp_ns: int) -> None:
    assert ns_to_time(stamp_ns) == RclpyTime(nanoseconds=stamp_ns).to_msg()
    assert time_to_ns(ns_to_time(stamp_ns)) == stamp_ns


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_any_message_survives_the_round_trip(sec: int, nanosec: int) -> None:
    stamp = Time(sec=sec, nanosec=nanosec)
    assert ns_to_time(time_to_ns(stamp)) == stamp


@pytest.mark.parametrize("stamp_ns", [2**31 * 10**9, -(2**31) * 10**9 - 1])
def test_instants_that_do_not_fit_are_refused(stamp_ns: int) -> None:
    with pytest.raises(InputError, match="does not fit a ROS Time"):
        ns_to_time(stamp_ns)


@pytest.mark.parametrize(
    ("sec", "nanosec", "problem"),
    [
        (0, 0, "no_stamp"),
        (0, 1, None),
        (2**31 - 3601, 999_999_999, None),
        (2**31 - 3600, 0, "bad_stamp"),
        (2**31 - 1, 999_999_999, "bad_stamp"),
        (-1, 0, "bad_stamp"),
        (-(2**31), 0, "bad_stamp"),
        (5, 1_000_000_000, "bad_stamp"),
        (0, 2**32 - 1, "bad_stamp"),
    ],
)
def test_stamps_that_no_clock_gives_are_named(sec: int, nanosec: int, problem: str | None) -> None:
    assert stamp_problem(Time(sec=sec, nanosec=nanosec)) == problem
