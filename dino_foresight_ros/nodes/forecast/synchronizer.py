"""message_filters as the synchronizer of several cameras, where it is installed.

Its ApproximateTimeSynchronizer finds whole groups; `Grouper` does what it leaves open. By itself
it waits for every camera for ever, so that one dead camera stops all, and it loses frames without
a word when its queue is full or a stamp comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rclpy.time import Time

from dino_foresight_ros.errors import describe
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.grouping import (
    MAX_PENDING,
    FindGroup,
    Group,
    Grouper,
    closest_stamps,
)

# The synchronizer's slop is exclusive, and a float of seconds cut to whole nanoseconds.
_INCLUSIVE_NS = 1.5


class _Header(NamedTuple):
    stamp: Time


class _Message(NamedTuple):
    """As much of a message as the synchronizer looks at, and its frame."""

    header: _Header
    frame: QueuedFrame


def approximate_time(
    frame: QueuedFrame, others: Mapping[str, Sequence[QueuedFrame]], tolerance_ns: int
) -> Group | None:
    """`FindGroup` by an ApproximateTimeSynchronizer, to which frames come as they came in.

    Raises:
        ImportError: message_filters is not installed.
    """
    from message_filters import ApproximateTimeSynchronizer, SimpleFilter

    found: list[Group] = []

    def take(*messages: _Message) -> None:
        found.append([message.frame for message in messages])

    inputs = {camera: SimpleFilter() for camera in (*others, frame.camera)}
    slop_s = (tolerance_ns + _INCLUSIVE_NS) / 1e9
    synchronizer = ApproximateTimeSynchronizer(list(inputs.values()), MAX_PENDING, slop_s)
    synchronizer.registerCallback(take)
    for one in (*(f for frames in others.values() for f in frames), frame):
        inputs[one.camera].signalMessage(_Message(_Header(Time(nanoseconds=one.stamp_ns)), one))
    return found[0] if found else None


def choose_synchronizer(warn: Callable[[str], object]) -> FindGroup:
    """message_filters' synchronizer, or the package's own where that cannot be used.

    Args:
        warn: is told in one line where message_filters is there, but does not work.
    """
    pair = [QueuedFrame(None, 10**18, 0.0, camera) for camera in "ab"]
    try:
        if approximate_time(pair[1], {"a": pair[:1]}, 0) != pair:
            raise RuntimeError("it does not find two frames of one instant")
    except ImportError:
        return closest_stamps
    except Exception as error:  # noqa: BLE001 - whatever release of it is installed
        warn(f"message_filters failed ({describe(error)}); the node groups frames by itself")
        return closest_stamps
    return approximate_time


def build_grouper(parameters: Mapping[str, Any], warn: Callable[[str], object]) -> Grouper | None:
    """The grouper that the node's parameters describe; None for a single camera.

    Args:
        parameters: the node's, by name.
        warn: see `choose_synchronizer`.
    """
    if len(parameters["cameras"]) < 2:
        return None
    tolerance_ns = round(parameters["sync_tolerance_s"] * 1e9)
    return Grouper(tolerance_ns, parameters["stream_timeout_s"], choose_synchronizer(warn))
