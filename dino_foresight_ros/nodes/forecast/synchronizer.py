"""message_filters as the synchronizer of several cameras, where it is installed.

Its ApproximateTimeSynchronizer finds whole groups; `Grouper` does what it leaves open. By itself
it waits for every camera for ever, so that one dead camera stops all, and it loses frames without
a word when its queue is full or a stamp comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from rclpy.time import Time

from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.grouping import (
    MAX_PENDING,
    ClosestStamps,
    Group,
    Grouper,
    Synchronizer,
)

# The synchronizer's slop is exclusive, and a float of seconds cut to whole nanoseconds.
_INCLUSIVE_NS = 1.5


class _Header(NamedTuple):
    stamp: Time


class _Message(NamedTuple):
    """As much of a message as the synchronizer looks at, and its frame."""

    header: _Header
    frame: QueuedFrame


class ApproximateTime:
    """One ApproximateTimeSynchronizer, connected to the cameras that are live."""

    def __init__(self, tolerance_ns: int) -> None:
        """Prepare.

        Args:
            tolerance_ns: how far apart the stamps of one group may lie.

        Raises:
            ImportError: message_filters is not installed.
            RuntimeError: it does not find two frames of one instant.
        """
        from message_filters import ApproximateTimeSynchronizer, SimpleFilter

        self._make_filter = SimpleFilter
        self._filters: dict[str, Any] = {}
        self._complete: list[Group] = []
        slop_s = (tolerance_ns + _INCLUSIVE_NS) / 1e9
        # The grouper takes frames out before any queue is full.
        self._synchronizer = ApproximateTimeSynchronizer([], MAX_PENDING + 1, slop_s)
        self._synchronizer.registerCallback(self._on_messages)
        self._try_out()

    def _try_out(self) -> None:
        frames = [QueuedFrame(None, 10**18, 0.0, camera) for camera in "ab"]
        found = [group for frame in frames for group in self.add(frame, "ab")]
        if found != [frames]:
            raise RuntimeError("it does not find two frames of one instant")

    def add(self, frame: QueuedFrame, cameras: Collection[str]) -> list[Group]:
        """See `Synchronizer`."""
        if set(cameras) != self._filters.keys():
            self._connect(cameras)
        self._signal(_Message(_Header(Time(nanoseconds=frame.stamp_ns)), frame))
        complete, self._complete = self._complete, []
        return complete

    def remove(self, frame: QueuedFrame) -> None:
        """See `Synchronizer`."""
        for queue in self._synchronizer.queues:
            message = queue.get(frame.stamp_ns)
            if message is not None and message.frame is frame:
                del queue[frame.stamp_ns]

    def _connect(self, cameras: Collection[str]) -> None:
        """Listen to other cameras, with what waits of them."""
        waiting = [message for queue in self._synchronizer.queues for message in queue.values()]
        self._filters = {camera: self._make_filter() for camera in cameras}
        self._synchronizer.connectInput(list(self._filters.values()))
        for message in waiting:
            self._signal(message)

    def _signal(self, message: _Message) -> None:
        if message.frame.camera in self._filters:
            self._filters[message.frame.camera].signalMessage(message)

    def _on_messages(self, *messages: _Message) -> None:
        self._complete.append([message.frame for message in messages])


def choose_synchronizer(tolerance_ns: int, warn: Callable[[str], object]) -> Synchronizer:
    """message_filters' synchronizer, or the package's own where that cannot be used.

    Args:
        tolerance_ns: how far apart the stamps of one group may lie.
        warn: is told in one line where message_filters is there, but does not work.
    """
    try:
        return ApproximateTime(tolerance_ns)
    except ImportError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever release of it is installed
        text = " ".join(str(error).split())
        warn(
            f"message_filters failed ({type(error).__name__}: {text}); the node groups the "
            "cameras' frames by itself"
        )
    return ClosestStamps(tolerance_ns)


def build_grouper(parameters: Mapping[str, Any], warn: Callable[[str], object]) -> Grouper | None:
    """The grouper that the node's parameters describe; None for a single camera.

    Args:
        parameters: the node's, by name.
        warn: see `choose_synchronizer`.
    """
    if len(parameters["cameras"]) < 2:
        return None
    tolerance_ns = round(parameters["sync_tolerance_s"] * 1e9)
    synchronizer = choose_synchronizer(tolerance_ns, warn)
    return Grouper(tolerance_ns, parameters["stream_timeout_s"], synchronizer)
