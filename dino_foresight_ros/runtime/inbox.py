"""Where frames wait for the engine: each camera's newest one, and those its context may need."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from dino_foresight_ros.runtime.context_rules import ContextRule
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.grouping import Group, Grouper


class Waiting(NamedTuple):
    """What waited of one camera.

    Attributes:
        newest: the frame to forecast.
        older: frames that newer ones replaced or that were held back, by rising stamp; all of them
            older than the newest.
    """

    newest: QueuedFrame
    older: list[QueuedFrame]


@dataclass
class Mailbox:
    """A place for one camera's newest frame; a newer one replaces it.

    A model that is slower than its frame interval would never see frames close enough together
    to fill a context. So replaced frames are kept for a while, at most two per interval and none
    older than a context. Memory is bounded. Not safe from several threads by itself.
    """

    rule: ContextRule
    newest: QueuedFrame | None = None
    _kept: list[QueuedFrame] = field(default_factory=list)

    def put(self, frame: QueuedFrame) -> list[QueuedFrame]:
        """Put in a newer frame.

        Returns:
            Frames that are of no use any more.
        """
        replaced, self.newest = self.newest, frame
        useless = [] if replaced is None else self._append(replaced)
        return useless + self._forget(frame.stamp_ns)

    def keep(self, frame: QueuedFrame) -> list[QueuedFrame]:
        """Put in a frame that is not to be forecast, only for the context of those to come.

        Returns:
            Frames that are of no use any more.
        """
        return self._forget(frame.stamp_ns) + self._append(frame)

    def take(self) -> Waiting | None:
        """Take the newest frame out, with those before it; None where there is none."""
        newest, self.newest = self.newest, None
        if newest is None:
            return None
        older = [frame for frame in self._kept if frame.stamp_ns < newest.stamp_ns]
        self._kept = [frame for frame in self._kept if frame.stamp_ns >= newest.stamp_ns]
        return Waiting(newest, older)

    def clear(self) -> list[QueuedFrame]:
        """Take everything out."""
        left = [*self._kept, *([self.newest] if self.newest is not None else [])]
        self.newest, self._kept = None, []
        return left

    def _append(self, frame: QueuedFrame) -> list[QueuedFrame]:
        """Keep a frame, if it is not too close to the last one."""
        spacing_ns = self.rule.waiting_spacing_ns
        if self._kept and frame.stamp_ns - self._kept[-1].stamp_ns < spacing_ns:
            return [frame]
        self._kept.append(frame)
        return []

    def _forget(self, newest_ns: int) -> list[QueuedFrame]:
        """Take out what can be in no context of a frame with this stamp."""
        oldest_ns = newest_ns - self.rule.span_ns
        useless = [f for f in self._kept if not oldest_ns <= f.stamp_ns < newest_ns]
        self._kept = [f for f in self._kept if oldest_ns <= f.stamp_ns < newest_ns]
        return useless


class Inbox:
    """First a frame waits for those of the other cameras, then in its camera's mailbox.

    So the engine gets whole groups where it keeps up. Where it does not, the newest group
    replaces the one that waits, and a camera that is not part of it keeps its own newest frame: a
    slow camera beside a fast one is not starved. Memory is bounded. Not safe from several threads
    by itself.
    """

    def __init__(self, rule: ContextRule, grouper: Grouper | None = None) -> None:
        """Prepare; without a grouper no frame waits for another."""
        self.grouper = grouper
        self._rule = rule
        self._mailboxes: dict[str, Mailbox] = {}

    def put(self, frame: QueuedFrame) -> list[QueuedFrame]:
        """Take a frame that just came in.

        Returns:
            Frames that are of no use any more.
        """
        if frame.held_back is not None:
            return self._mailbox(frame).keep(frame)
        return self._pass_on([[frame]] if self.grouper is None else self.grouper.put(frame))

    def due(self, now_s: float) -> list[QueuedFrame]:
        """Pass on the frames that waited long enough for those of other cameras.

        Returns:
            Frames that are of no use any more.
        """
        return [] if self.grouper is None else self._pass_on(self.grouper.due(now_s))

    @property
    def next_due_s(self) -> float | None:
        """When to call `due`, by the clock of `received_s`; None while nothing waits for it."""
        return None if self.grouper is None else self.grouper.next_due_s

    @property
    def has_work(self) -> bool:
        """Whether there is a frame to forecast."""
        return any(mailbox.newest is not None for mailbox in self._mailboxes.values())

    def take(self) -> list[Waiting]:
        """Take out each camera's newest frame, with those before it."""
        return [w for m in self._mailboxes.values() if (w := m.take()) is not None]

    def clear(self) -> list[QueuedFrame]:
        """Take everything out."""
        left = [] if self.grouper is None else self.grouper.clear()
        for mailbox in self._mailboxes.values():
            left += mailbox.clear()
        return left

    def _pass_on(self, groups: Iterable[Group]) -> list[QueuedFrame]:
        return [old for group in groups for f in group for old in self._mailbox(f).put(f)]

    def _mailbox(self, frame: QueuedFrame) -> Mailbox:
        return self._mailboxes.setdefault(frame.camera, Mailbox(self._rule))
