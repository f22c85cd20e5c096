"""A camera's context: a ring of recent frames' memories on the device, picked by time stamp.

The model was trained on frames a fixed interval apart, a camera delivers them at its own rate. So
the context is chosen by time, not by count: the newest frame and those nearest to one, two, ...
intervals before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from dino_foresight_ros.model import FrameMemory
from dino_foresight_ros.outputs import DropReason

NS = 1_000_000_000


class Arrival(Enum):
    """How a new stamp relates to what the buffer holds.

    APPEND: it comes next. DUPLICATE and OUT_OF_ORDER: of no use, the buffer stays as it is. GAP:
    too long after the newest frame. TIME_JUMP: so far back that time itself went back (a bag that
    loops). After the last two the buffer is emptied and starts anew with this frame.
    """

    APPEND = "append"
    DUPLICATE = DropReason.DUPLICATE_STAMP.value
    OUT_OF_ORDER = DropReason.OUT_OF_ORDER.value
    GAP = "gap"
    TIME_JUMP = DropReason.TIME_JUMP.value

    @property
    def accepted(self) -> bool:
        """Whether the frame goes into the buffer."""
        return self not in (Arrival.DUPLICATE, Arrival.OUT_OF_ORDER)


@dataclass(frozen=True)
class ContextRule:
    """How context frames are chosen.

    Attributes:
        frames: N_c, how many.
        interval_ns: nominal time between them.
        tolerance_ns: how far a frame may lie from its nominal instant; under half the interval,
            so that no frame serves twice.
        max_gap_ns: a longer pause between frames restarts the context.
    """

    frames: int
    interval_ns: int
    tolerance_ns: int
    max_gap_ns: int

    def __post_init__(self) -> None:
        if self.frames < 1 or self.interval_ns < 1:
            raise ValueError(
                f"context of {self.frames} frames {self.interval_ns} ns apart is empty"
            )
        if not 0 <= 2 * self.tolerance_ns < self.interval_ns:
            raise ValueError(
                f"tolerance {self.tolerance_ns} ns is not in [0, half the interval of "
                f"{self.interval_ns} ns)"
            )
        if self.max_gap_ns < 1:
            raise ValueError(f"max_gap {self.max_gap_ns} ns is not positive")

    @classmethod
    def for_interval(
        cls,
        frames: int,
        interval_s: float,
        tolerance: float = 0.45,
        max_gap_s: float | None = None,
    ) -> ContextRule:
        """Rule for an interval in seconds.

        Args:
            frames: N_c.
            interval_s: nominal seconds between context frames.
            tolerance: as a share of the interval, under 0.5.
            max_gap_s: seconds; twice the interval when None, beyond which no old frame can be
                part of a context any more.
        """
        gap_s = 2 * interval_s if max_gap_s is None else max_gap_s
        return cls(
            frames=frames,
            interval_ns=round(interval_s * NS),
            tolerance_ns=int(tolerance * interval_s * NS),
            max_gap_ns=round(gap_s * NS),
        )

    @property
    def span_ns(self) -> int:
        """Age of the oldest frame that can still be part of a context."""
        return (self.frames - 1) * self.interval_ns + self.tolerance_ns

    @property
    def longest_period_ns(self) -> int:
        """The longest steady time between frames with which contexts fill.

        A frame k intervals back is then at most (N_c - 1) x (period - interval) from its instant.
        """
        if self.frames == 1:
            return self.max_gap_ns
        return min(self.interval_ns + self.tolerance_ns // (self.frames - 1), self.max_gap_ns)

    def rate_problem(self, period_ns: int | None) -> str | None:
        """Why a camera of this period never gets a forecast, with both rates; None where it does.

        Args:
            period_ns: usual time between its frames; None when not known.
        """
        if period_ns is None or period_ns <= self.longest_period_ns:
            return None
        return (
            f"{_rate(period_ns)} frames/s come, the model needs {_rate(self.longest_period_ns)} or "
            f"more ({self.frames} frames {self.interval_ns / NS:g} s apart): no forecast can be "
            "made"
        )

    def nearest(self, stamps_ns: list[int]) -> list[int | None]:
        """For each context instant, newest first, the frame that serves it.

        Args:
            stamps_ns: rising stamps; the last one is the newest frame.

        Returns:
            N_c indices into `stamps_ns`; None where no frame lies within the tolerance. Of two
            equally near frames the newer one is taken.
        """
        chosen: list[int | None] = []
        index = len(stamps_ns) - 1
        for k in range(self.frames):
            target = stamps_ns[-1] - k * self.interval_ns if stamps_ns else 0
            while index > 0 and stamps_ns[index - 1] >= target:
                index -= 1
            # stamps_ns[index] is the oldest at or after the target; its neighbour lies before it.
            best = index
            if index > 0 and target - stamps_ns[index - 1] < abs(stamps_ns[index] - target):
                best = index - 1
            near = best >= 0 and abs(stamps_ns[best] - target) <= self.tolerance_ns
            chosen.append(best if near else None)
        return chosen

    def choose(self, stamps_ns: list[int]) -> list[int] | None:
        """The context's indices into rising stamps, oldest first; None where one is missing."""
        chosen = [index for index in self.nearest(stamps_ns) if index is not None]
        return chosen[::-1] if len(chosen) == self.frames else None

    def needed(
        self, newest_ns: int, waiting_ns: Sequence[int], held_ns: Sequence[int]
    ) -> list[int]:
        """Choose the frames to encode before the newest one, for its context and those to come.

        Args:
            newest_ns: stamp of the frame that is to be forecast next.
            waiting_ns: stamps of older frames that could be encoded.
            held_ns: rising stamps of the frames that are encoded already.

        Returns:
            Indices into `waiting_ns`, by rising stamp.
        """
        # A frame older than the newest encoded one would come too late.
        usable = [
            index
            for index, stamp in enumerate(waiting_ns)
            if stamp < newest_ns and (not held_ns or stamp > held_ns[-1])
        ]
        chosen: list[int] = []
        for k in range(self.frames - 1, 0, -1):
            target_ns = newest_ns - k * self.interval_ns
            if any(abs(stamp - target_ns) <= self.tolerance_ns for stamp in held_ns):
                continue
            # Also while other holes stay open: the contexts that follow will need it.
            nearest = min(usable, key=lambda i: abs(waiting_ns[i] - target_ns), default=None)
            if nearest is not None and abs(waiting_ns[nearest] - target_ns) <= self.tolerance_ns:
                chosen.append(nearest)
        # Contexts to come are centred elsewhere: no instant may be left without a frame within
        # the tolerance, as long as there is one to be had.
        covered = [newest_ns, *held_ns, *(waiting_ns[index] for index in chosen)]
        for index in usable:
            if all(abs(waiting_ns[index] - stamp) > self.tolerance_ns for stamp in covered):
                chosen.append(index)
                covered.append(waiting_ns[index])
        return sorted(chosen, key=lambda index: waiting_ns[index])


def _rate(period_ns: int) -> str:
    return f"{NS / period_ns:.3g}"


class ContextBuffer:
    """Ring of what a forecaster remembers of one camera's frames, with their stamps.

    Memory is taken once, at the first frame: frames that arrive closer together than the capacity
    allows replace one another, so that the kept ones always span a whole context. Stamps must be
    checked with `arrival` before a frame is encoded, and pushed with `push` afterwards.
    """

    def __init__(self, rule: ContextRule, capacity: int | None = None) -> None:
        """Prepare.

        Args:
            rule: how the context is chosen.
            capacity: frames held; enough for 60 frames/s when None.

        Raises:
            ValueError: a capacity that cannot hold a context.
        """
        self.rule = rule
        self.capacity = capacity or max(2 * rule.frames, 60 * rule.span_ns // NS + 3)
        if self.capacity < 2 * rule.frames:
            raise ValueError(f"capacity {self.capacity} is under {2 * rule.frames} frames")
        self._rings: tuple[Tensor, ...] = ()
        # Kept frames, but for the newest, lie at least this far apart; so they reach back over a
        # context however fast frames come.
        self._spacing_ns = -(-rule.span_ns // (self.capacity - 2))
        self._stamps: list[int] = []
        self._slots: list[int] = []
        self._free = list(range(self.capacity))

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """Stamps held, oldest first."""
        return tuple(self._stamps)

    def clear(self) -> None:
        """Drop every frame; the memory stays."""
        self._free.extend(self._slots)
        self._stamps.clear()
        self._slots.clear()

    def arrival(self, stamp_ns: int) -> Arrival:
        """Say what a frame with this stamp would be, without changing anything."""
        if not self._stamps:
            return Arrival.APPEND
        ahead = stamp_ns - self._stamps[-1]
        if ahead > self.rule.max_gap_ns:
            return Arrival.GAP
        if ahead > 0:
            return Arrival.APPEND
        if stamp_ns in self._stamps:
            return Arrival.DUPLICATE
        # Late frames are at most about a context late; further back, the clock itself went back.
        return Arrival.OUT_OF_ORDER if -ahead <= self.rule.span_ns else Arrival.TIME_JUMP

    def push(self, stamp_ns: int, memory: FrameMemory) -> Arrival:
        """Put a frame in, where its arrival is accepted.

        Args:
            stamp_ns: the frame's stamp.
            memory: what is remembered of it, without a leading dimension; always of the same
                shapes, number formats and device.

        Returns:
            What the frame was.
        """
        arrival = self.arrival(stamp_ns)
        if not arrival.accepted:
            return arrival
        if arrival is not Arrival.APPEND:
            self.clear()
        self._make_room(stamp_ns)
        slot = self._free.pop()
        if not self._rings:
            self._rings = tuple(x.new_zeros((self.capacity, *x.shape)) for x in memory)
        for ring, x in zip(self._rings, memory, strict=True):
            ring[slot].copy_(x)
        self._stamps.append(stamp_ns)
        self._slots.append(slot)
        return arrival

    def _make_room(self, stamp_ns: int) -> None:
        """Free what the next context cannot use: frames too old, or too close together."""
        oldest = stamp_ns - self.rule.span_ns
        while self._stamps and self._stamps[0] < oldest:
            self._drop(0)
        if len(self._stamps) >= 2 and self._stamps[-1] - self._stamps[-2] < self._spacing_ns:
            self._drop(-1)
        if not self._free:
            self._drop(0)

    def _drop(self, index: int) -> None:
        self._stamps.pop(index)
        self._free.append(self._slots.pop(index))

    def context_stamps(self) -> tuple[int, ...] | None:
        """Stamps of the context for the newest frame, oldest first; None while it fills."""
        chosen = self.rule.choose(self._stamps)
        return None if chosen is None else tuple(self._stamps[i] for i in chosen)

    def context(self) -> FrameMemory | None:
        """Memories of the context, (N_c, ...) each, oldest frame first; None while it fills."""
        chosen = self.rule.choose(self._stamps)
        if chosen is None:
            return None
        slots = [self._slots[i] for i in chosen]
        return tuple(
            ring.index_select(0, torch.tensor(slots, device=ring.device)) for ring in self._rings
        )

    def filled(self) -> int:
        """How many of the context's instants have a frame, counted from the newest (0 to N_c)."""
        return sum(index is not None for index in self.rule.nearest(self._stamps))
