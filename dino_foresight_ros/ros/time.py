"""Time stamps: builtin_interfaces/Time and integer nanoseconds."""

from __future__ import annotations

from builtin_interfaces.msg import Time

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.stamps import NS_PER_S

MAX_STAMP_NS = 2**31 * NS_PER_S - 1


def time_to_ns(stamp: Time) -> int:
    """Nanoseconds of a Time message, in the message's own time base."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def stamp_problem(stamp: Time) -> DropReason | None:
    """Why a camera's stamp cannot be used; None for a good one.

    NO_STAMP where it was left at 0; BAD_STAMP before 1970 or with a second or more of
    nanoseconds, which no clock gives, and in the last hour of ROS time (2038), after which
    forecasts would have no stamp.
    """
    if stamp.sec == 0 and stamp.nanosec == 0:
        return DropReason.NO_STAMP
    possible = 0 <= stamp.sec < 2**31 - 3600 and stamp.nanosec < NS_PER_S
    return None if possible else DropReason.BAD_STAMP


def ns_to_time(stamp_ns: int) -> Time:
    """Time message of an instant in nanoseconds.

    Raises:
        InputError: outside of what the message's 32-bit seconds can hold.
    """
    if not -(2**31) * NS_PER_S <= stamp_ns <= MAX_STAMP_NS:
        raise InputError(f"time stamp {stamp_ns} ns does not fit a ROS Time: check the clock")
    sec, nanosec = divmod(int(stamp_ns), NS_PER_S)
    return Time(sec=sec, nanosec=nanosec)
