"""Numbers of the objects that can move, the same at every instant.

A number is a function of what the object is, not of what is seen: 16 bits hold whether it is
parked, crosses at a crosswalk or belongs to a stream, and which one it is. They repeat so far apart
that two objects in view never share one.
"""

from __future__ import annotations

LEAD = 1
"""The vehicle ahead in the ego's lane."""
_REACTING, _MOST_REACTING = 2, 1024
_CELLS, _SLOTS = 256, 16
_PARKED = 1 << 12
_EVENTS, _WALKERS = 1024, 16
_CROSSING = 1 << 14
_ACTORS = 1 << 11
_STREAM = 1 << 15


def parked(cell: int, slot: int) -> int:
    """Number `slot` (0 to 15) of those parked in a cell; repeats after 256 cells, 6 km."""
    return _PARKED + cell % _CELLS * _SLOTS + slot


def crossing(event_s_m: float, walker: int) -> int:
    """Number `walker` (0 to 15) of those at a crosswalk; repeats after 102.4 m of road.

    Crosswalks are drawn from 5 m behind to 90 m ahead of the ego.
    """
    return _CROSSING + int(event_s_m * 10) % _EVENTS * _WALKERS + walker


def of_stream(stream: int, actor: int) -> int:
    """Actor of a stream (0 to 15); repeats after 2048 actors."""
    return _STREAM + stream * _ACTORS + actor % _ACTORS


def reacting(number: int) -> int:
    """One of those that react to the ego (0 to 1023)."""
    return _REACTING + number % _MOST_REACTING


def is_reacting(instance: int) -> bool:
    """Whether it is one of those that react to the ego."""
    return _REACTING <= instance < _REACTING + _MOST_REACTING
