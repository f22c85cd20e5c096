"""A camera's context: a ring of recent frames' memories on the device, picked by time stamp."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor

from dino_foresight_ros.model import FrameMemory
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime.context_rules import ContextRule


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
            capacity: frames held; what the rule asks for when None.

        Raises:
            ValueError: a capacity that cannot hold a context.
        """
        self.rule = rule
        least = min(2 * rule.frames, rule.capacity)
        self.capacity = capacity or rule.capacity
        if self.capacity < least:
            raise ValueError(f"capacity {self.capacity} is under {least} frames")
        self._rings: tuple[Tensor, ...] = ()
        # Kept frames, but for the newest, lie at least this far apart; so they reach back over a
        # context however fast frames come.
        self._spacing_ns = rule.kept_spacing_ns(self.capacity)
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
        """How many frames of the context there are, 0 to N_c."""
        return self.rule.filled(self._stamps)

    @property
    def memory_bytes(self) -> int:
        """Bytes that the ring takes on the device; it never grows after the first frame."""
        return sum(ring.numel() * ring.element_size() for ring in self._rings)
