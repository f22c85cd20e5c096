"""Brings together the messages about one frame, which come on several topics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

MAX_WAITING = 8
"""Frames that may wait for parts; beyond it the oldest goes on without them."""

Head = TypeVar("Head")


class Part(NamedTuple):
    """Which part of a frame's description: an output's name, and the step it is of."""

    name: str
    step: int = 0


@dataclass
class _Record(Generic[Head]):
    head: Head | None = None
    expected: frozenset[Part] = frozenset()
    parts: dict[Part, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return self.head is not None and self.expected <= self.parts.keys()


class Assembly(Generic[Head]):
    """Collects by stamp a head, which says what parts are to come, and those parts, in any order.

    Messages of one topic come in order. So when a frame is complete, parts that earlier ones lack
    are lost, and they go on without; `incomplete` counts them. Parts whose head never comes are
    forgotten. Memory is bounded.
    """

    def __init__(self) -> None:
        self.incomplete = 0
        self._records: dict[int, _Record[Head]] = {}
        self._newest_head_ns: int | None = None

    @property
    def waiting(self) -> int:
        """How many frames lack something."""
        return len(self._records)

    def put_head(
        self, stamp_ns: int, head: Head, expected: frozenset[Part]
    ) -> list[tuple[Head, Mapping[Part, Any]]]:
        """Take a head; the frames that go on now, with their parts, oldest first."""
        if self._newest_head_ns is not None and stamp_ns < self._newest_head_ns:
            # Time went back. What there is of this very stamp came just before its head.
            self._records = {s: r for s, r in self._records.items() if s == stamp_ns}
        self._newest_head_ns = stamp_ns
        record = self._record(stamp_ns)
        record.head, record.expected = head, expected
        return self._finished(stamp_ns)

    def put_part(
        self, stamp_ns: int, part: Part, value: Any
    ) -> list[tuple[Head, Mapping[Part, Any]]]:
        """Take a part; the frames that go on now, with their parts, oldest first."""
        self._record(stamp_ns).parts[part] = value
        return self._finished(stamp_ns)

    def _record(self, stamp_ns: int) -> _Record[Head]:
        return self._records.setdefault(stamp_ns, _Record())

    def _finished(self, stamp_ns: int) -> list[tuple[Head, Mapping[Part, Any]]]:
        if self._records[stamp_ns].is_complete:
            return self._release([stamp for stamp in self._records if stamp <= stamp_ns])
        if len(self._records) > MAX_WAITING:
            return self._release([next(iter(self._records))])
        return []

    def _release(self, stamps: list[int]) -> list[tuple[Head, Mapping[Part, Any]]]:
        done: list[tuple[Head, Mapping[Part, Any]]] = []
        for stamp in sorted(stamps):
            record = self._records.pop(stamp)
            if record.head is not None:
                self.incomplete += not record.is_complete
                done.append((record.head, record.parts))
        return done
