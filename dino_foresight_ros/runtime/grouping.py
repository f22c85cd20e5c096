"""Frames of several cameras that belong to one instant, as they come in one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from dino_foresight_ros.runtime.frame import QueuedFrame

MIN_WAIT_S = 0.05
"""Frames taken at the very same instant still arrive this far apart (transport, decoding)."""

MAX_PENDING = 8
"""Frames of one camera that may wait; beyond it the oldest go on alone."""

Group = list[QueuedFrame]
"""At most one frame of each camera."""


class FindGroup(Protocol):
    """Finds the frames that belong together, one of each camera."""

    def __call__(
        self, frame: QueuedFrame, others: Mapping[str, Sequence[QueuedFrame]], tolerance_ns: int
    ) -> Group | None:
        """Find the group of a frame that just came in.

        Args:
            frame: the frame.
            others: what waits of each other camera that the group needs a frame of, as it came in.
            tolerance_ns: how far apart the stamps of the group may lie.

        Returns:
            The group; None while it cannot be whole.
        """


def closest_stamps(
    frame: QueuedFrame, others: Mapping[str, Sequence[QueuedFrame]], tolerance_ns: int
) -> Group | None:
    """`FindGroup` by the smallest difference between the first and the last stamp."""
    stamps = [[f.stamp_ns for f in frames] for frames in others.values()]
    chosen = smallest_spread(frame.stamp_ns, stamps, tolerance_ns)
    if chosen is None:
        return None
    return [frame, *(frames[k] for frames, k in zip(others.values(), chosen, strict=True))]


def smallest_spread(
    stamp_ns: int, others_ns: Sequence[Sequence[int]], tolerance_ns: int
) -> list[int] | None:
    """Choose the stamps that lie closest together around a frame's.

    Args:
        stamp_ns: the frame's.
        others_ns: those of other cameras' frames.
        tolerance_ns: how far apart the chosen ones and the frame's own may lie.

    Returns:
        An index for each of the other cameras; None where no choice lies within the tolerance.
    """
    lowest = {s for stamps in others_ns for s in stamps if s <= stamp_ns} | {stamp_ns}
    best: tuple[int, list[int]] | None = None
    for low in sorted(lowest, reverse=True):
        # The smallest window that starts at `low` holds everybody's first stamp from there on.
        first = [min((s for s in stamps if s >= low), default=None) for stamps in others_ns]
        picks = [s for s in first if s is not None]
        spread = max([stamp_ns, *picks]) - low
        if len(picks) == len(others_ns) and (best is None or spread < best[0]):
            best = (spread, picks)
    if best is None or best[0] > tolerance_ns:
        return None
    return [list(stamps).index(pick) for stamps, pick in zip(others_ns, best[1], strict=True)]


class Grouper:
    """Groups frames whose stamps lie within a tolerance, without ever waiting for long.

    A frame goes on as soon as it and one waiting frame of every other live camera lie within the
    tolerance. When the others do not come in time, it goes on with those that did. A camera that
    was silent for long is not live: nobody waits for it until it is back.

    Every frame put in comes out once, in one group; frames of one camera come out in the order
    in which they came in, whatever their stamps are: late, repeated or jumping stamps are the
    engine's to judge. Memory is bounded. Times are the caller's, in seconds of `time.monotonic`.
    Not safe from several threads by itself.
    """

    def __init__(
        self, tolerance_ns: int, silent_s: float, find_group: FindGroup = closest_stamps
    ) -> None:
        """Prepare.

        Args:
            tolerance_ns: how far apart the stamps of one group may lie. A frame waits for the
                others for the same time, and for `MIN_WAIT_S` at least.
            silent_s: a camera without a frame for longer is not waited for; may be changed.
            find_group: finds whole groups.
        """
        self.silent_s = silent_s
        self._tolerance_ns = tolerance_ns
        self._wait_s = max(tolerance_ns / 1e9, MIN_WAIT_S)
        self._find_group = find_group
        self._pending: dict[str, list[QueuedFrame]] = {}
        self._heard_s: dict[str, float] = {}

    def put(self, frame: QueuedFrame) -> list[Group]:
        """Take a frame that just came in; the groups that go on now, in order."""
        self._heard_s[frame.camera] = frame.received_s
        waiting = self._pending.setdefault(frame.camera, [])
        waiting.append(frame)
        done: list[Group] = []
        if len(waiting) > MAX_PENDING:
            done += self._release([waiting[0]])
        live = self._live(frame.received_s)
        others = {c: tuple(self._pending.get(c, ())) for c in live if c != frame.camera}
        group = self._find_group(frame, others, self._tolerance_ns)
        return done if group is None else done + self._release(group)

    def due(self, now_s: float) -> list[Group]:
        """The groups whose time to wait is over, in order."""
        done: list[Group] = []
        while self._pending and (oldest := self._oldest()).received_s + self._wait_s <= now_s:
            done += self._release(self._partial(oldest))
        return done

    @property
    def next_due_s(self) -> float | None:
        """When `due` has something to give at the latest; None while nothing waits."""
        return self._oldest().received_s + self._wait_s if self._pending else None

    def clear(self) -> list[QueuedFrame]:
        """Take everything out and forget which cameras live."""
        left = [frame for frames in self._pending.values() for frame in frames]
        self._pending.clear()
        self._heard_s.clear()
        return left

    def _live(self, now_s: float) -> list[str]:
        return [c for c, heard_s in self._heard_s.items() if now_s - heard_s <= self.silent_s]

    def _near(self, camera: str, stamp_ns: int) -> list[QueuedFrame]:
        """The camera's waiting frames that may be in one group with this stamp."""
        frames = self._pending.get(camera, [])
        return [f for f in frames if abs(f.stamp_ns - stamp_ns) <= self._tolerance_ns]

    def _oldest(self) -> QueuedFrame:
        return min((f[0] for f in self._pending.values()), key=lambda frame: frame.received_s)

    def _partial(self, frame: QueuedFrame) -> Group:
        """The frame with whatever is there of its instant, the nearest first."""
        near = [
            f for c in self._pending if c != frame.camera for f in self._near(c, frame.stamp_ns)
        ]
        group = [frame]
        for other in sorted(near, key=lambda f: abs(f.stamp_ns - frame.stamp_ns)):
            stamps = [f.stamp_ns for f in (*group, other)]
            is_new = all(f.camera != other.camera for f in group)
            if is_new and max(stamps) - min(stamps) <= self._tolerance_ns:
                group.append(other)
        return group

    def _release(self, group: Group) -> list[Group]:
        """Let a group go on, after the frames that it overtakes."""
        overtaken: list[Group] = []
        for frame in group:
            frames = self._pending[frame.camera]
            index = frames.index(frame)
            overtaken += [[f] for f in frames[:index]]
            del frames[: index + 1]
            if not frames:
                del self._pending[frame.camera]
        return [*overtaken, group]
