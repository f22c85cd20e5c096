"""Where the frames of all cameras wait for the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from dino_foresight_ros.runtime.grouping import Group, Grouper
from dino_foresight_ros.runtime.mailbox import Frame, Mailbox, Rule


class Batch(NamedTuple):
    """What the engine is to work at next.

    Attributes:
        newest: the newest frame of each camera that has one, to be forecast together.
        fill: frames that fill holes of their contexts, to be encoded before, in this order; each
            group holds at most one frame of a camera.
        useless: frames that serve nothing any more.
    """

    newest: Group
    fill: list[Group]
    useless: list[Frame]


class Inbox:
    """First a frame waits for those of the other cameras, then in its camera's mailbox.

    So the engine gets whole groups where it keeps up. Where it does not, the newest group
    replaces the one that waits, and a camera that is not part of it keeps its own newest frame: a
    slow camera beside a fast one is not starved. Bounded memory. Not safe from several threads by
    itself.
    """

    def __init__(self, rule: Rule, grouper: Grouper | None = None) -> None:
        """Prepare; without a grouper no frame waits for another."""
        self.grouper = grouper
        self._rule = rule
        self._mailboxes: dict[str, Mailbox] = {}

    def put(self, frame: Frame) -> list[Frame]:
        """Take a frame that just came in; frames that are of no use any more."""
        groups = [[frame]] if self.grouper is None else self.grouper.put(frame)
        return self._pass_on(groups)

    def keep(self, frame: Frame) -> list[Frame]:
        """Take a frame for the context only; frames that are of no use any more."""
        return self._mailbox(frame).keep(frame)

    def due(self, now_s: float) -> list[Frame]:
        """Pass on what waited long enough; frames that are of no use any more."""
        return [] if self.grouper is None else self._pass_on(self.grouper.due(now_s))

    @property
    def next_due_s(self) -> float | None:
        """When to call `due`, in seconds of `time.monotonic`; None while nothing waits for it."""
        return None if self.grouper is None else self.grouper.next_due_s

    @property
    def has_work(self) -> bool:
        """Whether a batch can be taken."""
        return any(mailbox.newest is not None for mailbox in self._mailboxes.values())

    def take(self, needed: Callable[[str, int, Sequence[int]], list[int]]) -> Batch:
        """Take the newest frame of each camera, with what its context needs.

        Args:
            needed: chooses among waiting frames, as `Foresight.needed` does.
        """
        newest: Group = []
        useless: list[Frame] = []
        fills: list[list[Frame]] = []
        for camera, mailbox in self._mailboxes.items():
            if mailbox.newest is None:
                continue
            frame, fill, left = mailbox.take(partial(needed, camera))
            newest.append(frame)
            fills.append(fill)
            useless += left
        rounds = range(max(map(len, fills), default=0))
        # Counted from the newest, so that each context is complete as soon as its turn comes.
        fill_groups = [[fill[-1 - i] for fill in fills if i < len(fill)] for i in reversed(rounds)]
        return Batch(newest, fill_groups, useless)

    def clear(self) -> list[Frame]:
        """Take everything out."""
        left = [] if self.grouper is None else self.grouper.clear()
        for mailbox in self._mailboxes.values():
            left += mailbox.clear()
        return left

    def _pass_on(self, groups: Iterable[Group]) -> list[Frame]:
        return [old for group in groups for f in group for old in self._mailbox(f).put(f)]

    def _mailbox(self, frame: Frame) -> Mailbox:
        return self._mailboxes.setdefault(frame.camera, Mailbox(self._rule))
