"""How the forecast node brings the frames of several cameras together.

message_filters' ApproximateTimeSynchronizer, where it is installed, chooses which frames belong
together; the node's own nearest-stamp choice does elsewhere. Everything around the choice is the
node's own (`Grouper`), since the synchronizer by itself waits for every camera for ever, so that
one dead camera stops all; loses frames without a word when its queue is full or a stamp comes
twice; and after time jumped back throws each new frame away, for being the oldest it has. So each
choice is made by a new synchronizer, which sees the frames that wait at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rclpy.time import Time

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.grouping import Choose, Grouper

# The synchronizer's slop is exclusive, and a float of seconds cut to whole nanoseconds.
_INCLUSIVE_NS = 1.5


class _Header(NamedTuple):
    stamp: Time


class _Stamped(NamedTuple):
    """As much of a message as the synchronizer looks at, and the frame's place."""

    header: _Header
    place: int


def build_grouper(parameters: Mapping[str, Any], warn: Callable[[str], None]) -> Grouper | None:
    """The grouper that the node's parameters describe; None for a single camera.

    Args:
        parameters: the node's, by name.
        warn: is told in one line where message_filters is there, but does not work.
    """
    if len(parameters["cameras"]) < 2:
        return None
    from dino_foresight_ros.runtime.grouping import Grouper, smallest_spread

    tolerance_ns = round(parameters["sync_tolerance_s"] * 1e9)
    choose = synchronizer_choice(warn) or smallest_spread
    return Grouper(tolerance_ns, parameters["stream_timeout_s"], choose)


def synchronizer_choice(warn: Callable[[str], None]) -> Choose | None:
    """The choice by message_filters, None where that cannot be imported.

    Args:
        warn: is told once if it fails; the node's own choice then takes its place.
    """
    try:
        from message_filters import ApproximateTimeSynchronizer, SimpleFilter
    except ImportError:
        return None
    from dino_foresight_ros.runtime.grouping import smallest_spread

    works = True

    def choose(
        stamp_ns: int, others_ns: Sequence[Sequence[int]], tolerance_ns: int
    ) -> list[int] | None:
        nonlocal works
        if works:
            try:
                return _synchronize(
                    ApproximateTimeSynchronizer, SimpleFilter, stamp_ns, others_ns, tolerance_ns
                )
            except Exception as error:  # noqa: BLE001 - whatever release of it is installed
                works = False
                text = " ".join(str(error).split())
                warn(
                    f"message_filters failed ({type(error).__name__}: {text}); the node groups "
                    "the cameras' frames by itself"
                )
        return smallest_spread(stamp_ns, others_ns, tolerance_ns)

    return choose


def _synchronize(
    synchronizer: Any,
    simple_filter: Any,
    stamp_ns: int,
    others_ns: Sequence[Sequence[int]],
    tolerance_ns: int,
) -> list[int] | None:
    if not others_ns:
        return []
    stamps = [*others_ns, [stamp_ns]]  # the new frame last: it completes the set
    filters = [simple_filter() for _ in stamps]
    queue_size = max(map(len, stamps))
    synced = synchronizer(filters, queue_size, (tolerance_ns + _INCLUSIVE_NS) / 1e9)
    chosen: list[tuple[_Stamped, ...]] = []
    synced.registerCallback(lambda *messages: chosen.append(messages))
    for one, own in zip(filters, stamps, strict=True):
        for place, stamp in enumerate(own):
            one.signalMessage(_Stamped(_Header(Time(nanoseconds=stamp)), place))
    if not chosen:
        return None
    times = [message.header.stamp.nanoseconds for message in chosen[0]]
    if max(times) - min(times) > tolerance_ns:
        return None
    return [message.place for message in chosen[0][:-1]]
