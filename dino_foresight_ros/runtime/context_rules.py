"""Which of a camera's recent frames make the context: even ones, or simply the newest.

A masked forecaster was trained on frames a fixed interval apart, and a camera delivers them at its
own rate: its context is chosen by time, not by count. A forecaster of any instants takes frames as
they come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from dino_foresight_ros.model import Forecaster
from dino_foresight_ros.stamps import NS_PER_S


class ContextRule(ABC):
    """How context frames are chosen, and which frames must be kept for that."""

    frames: int
    """The most frames of a context."""
    max_gap_ns: int
    """A longer pause between frames restarts the context."""

    @property
    @abstractmethod
    def span_ns(self) -> int:
        """Age of the oldest frame that can still be part of a context."""

    @property
    @abstractmethod
    def usual_spacing_ns(self) -> int:
        """Frames so far apart make whole contexts."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many encoded frames to keep."""

    @abstractmethod
    def kept_spacing_ns(self, capacity: int) -> int:
        """Of encoded frames closer together than this only one is kept, the newest frame aside."""

    @property
    @abstractmethod
    def waiting_spacing_ns(self) -> int:
        """Replaced frames closer together than this need not both be kept for the context."""

    @property
    @abstractmethod
    def longest_period_ns(self) -> int:
        """The longest steady time between frames with which contexts fill."""

    @property
    @abstractmethod
    def least_duration_ns(self) -> int:
        """Recordings that are shorter never fill a context."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What a context needs, in words."""

    def rate_problem(self, period_ns: int | None) -> str | None:
        """Why a camera of this period never gets a forecast, with both rates; None where it does.

        Args:
            period_ns: usual time between its frames; None when not known.
        """
        if period_ns is None or period_ns <= self.longest_period_ns:
            return None
        return (
            f"{_rate(period_ns)} frames/s come, the model needs {_rate(self.longest_period_ns)} or "
            f"more ({self.description}): no forecast can be made"
        )

    @abstractmethod
    def choose(self, stamps_ns: Sequence[int]) -> list[int] | None:
        """Choose the context of the newest frame.

        Args:
            stamps_ns: rising stamps; the last one is the newest frame.

        Returns:
            Indices into `stamps_ns`, oldest first; None while there is no context yet.
        """

    @abstractmethod
    def filled(self, stamps_ns: Sequence[int]) -> int:
        """How many frames of the context there are, 0 to `frames`."""

    @abstractmethod
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

    @classmethod
    def of(cls, forecaster: Forecaster) -> ContextRule:
        """The rule that a forecaster needs."""
        frames = forecaster.context_frames
        if not forecaster.takes_any_instants:
            return EvenContext.for_interval(frames, forecaster.frame_interval_s)
        return RecentContext(
            frames,
            spacing_ns=round(forecaster.context_spacing_s * NS_PER_S),
            max_age_ns=round(forecaster.max_context_age_s * NS_PER_S),
        )


@dataclass(frozen=True)
class EvenContext(ContextRule):
    """The frames nearest to one, two, ... intervals before the newest: no more and no fewer.

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
    ) -> EvenContext:
        """Rule for an interval in seconds.

        Args:
            frames: N_c.
            interval_s: nominal seconds between context frames.
            tolerance: as a fraction of the interval, under 0.5.
            max_gap_s: seconds; twice the interval when None, beyond which no old frame can be
                part of a context any more.
        """
        gap_s = 2 * interval_s if max_gap_s is None else max_gap_s
        return cls(
            frames=frames,
            interval_ns=round(interval_s * NS_PER_S),
            tolerance_ns=int(tolerance * interval_s * NS_PER_S),
            max_gap_ns=round(gap_s * NS_PER_S),
        )

    @property
    def span_ns(self) -> int:
        """Age of the oldest frame that can still be part of a context."""
        return (self.frames - 1) * self.interval_ns + self.tolerance_ns

    @property
    def longest_period_ns(self) -> int:
        """As `ContextRule.longest_period_ns`.

        A frame k intervals back is then at most (N_c - 1) x (period - interval) from its instant.
        """
        if self.frames == 1:
            return self.max_gap_ns
        return min(self.interval_ns + self.tolerance_ns // (self.frames - 1), self.max_gap_ns)

    @property
    def least_duration_ns(self) -> int:
        """The oldest frame may lie so much nearer than its instant as the tolerance allows."""
        return (self.frames - 1) * self.interval_ns - min(self.frames - 1, 1) * self.tolerance_ns

    @property
    def description(self) -> str:
        """Such as "4 frames 0.2 s apart"."""
        return f"{self.frames} frames {self.interval_ns / NS_PER_S:g} s apart"

    @property
    def usual_spacing_ns(self) -> int:
        """The interval."""
        return self.interval_ns

    @property
    def waiting_spacing_ns(self) -> int:
        """Half an interval."""
        return self.interval_ns // 2

    @property
    def capacity(self) -> int:
        """Enough for 60 frames/s."""
        return max(2 * self.frames, 60 * self.span_ns // NS_PER_S + 3)

    def kept_spacing_ns(self, capacity: int) -> int:
        """So much that the capacity reaches back over a context."""
        return -(-self.span_ns // (capacity - 2))

    def nearest(self, stamps_ns: Sequence[int]) -> list[int | None]:
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

    def choose(self, stamps_ns: Sequence[int]) -> list[int] | None:
        """As `ContextRule.choose`; None where an instant has no frame."""
        chosen = [index for index in self.nearest(stamps_ns) if index is not None]
        return chosen[::-1] if len(chosen) == self.frames else None

    def needed(
        self, newest_ns: int, waiting_ns: Sequence[int], held_ns: Sequence[int]
    ) -> list[int]:
        """As `ContextRule.needed`: frames that fill holes now, or would leave holes later."""
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

    def filled(self, stamps_ns: Sequence[int]) -> int:
        """How many of the context's instants have a frame, counted from the newest."""
        return sum(index is not None for index in self.nearest(stamps_ns))


@dataclass(frozen=True)
class RecentContext(ContextRule):
    """The newest frames, whatever their distances: there are no holes and no tolerance.

    Attributes:
        frames: the most frames of a context.
        spacing_ns: least distance between context frames. A fast camera's newest frames would
            otherwise show hardly any motion. Each is the newest one that is so much older than the
            one after it; the frames of a slower camera are taken as they are.
        max_age_ns: how much older than the newest frame a context frame may be.
        least: fewest frames of a context.
    """

    frames: int
    spacing_ns: int
    max_age_ns: int
    least: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.frames:
            raise ValueError(f"context of {self.least} to {self.frames} frames cannot be")
        if self.spacing_ns < 0 or self.max_age_ns < 1:
            raise ValueError(
                f"context spacing {self.spacing_ns} ns or age {self.max_age_ns} ns is out of range"
            )

    @property
    def max_gap_ns(self) -> int:  # type: ignore[override]
        """After so long a pause no older frame can be part of a context."""
        return self.max_age_ns

    @property
    def span_ns(self) -> int:
        """The greatest age."""
        return self.max_age_ns

    @property
    def longest_period_ns(self) -> int:
        """The fewest frames just fit into the greatest age."""
        return self.max_age_ns // max(1, self.least - 1)

    @property
    def least_duration_ns(self) -> int:
        """Frames count however near to one another they are."""
        return 0

    @property
    def description(self) -> str:
        """Such as "2 frames within 4 s"."""
        return f"{self.least} frames within {self.max_age_ns / NS_PER_S:g} s"

    @property
    def usual_spacing_ns(self) -> int:
        """The spacing, or what fills half the greatest age."""
        return self.spacing_ns or max(1, self.max_age_ns // (2 * self.frames))

    @property
    def capacity(self) -> int:
        """Whole contexts, where kept frames lie half the spacing and context frames 1.5 apart."""
        return 3 * self.frames if self.spacing_ns else self.frames

    def kept_spacing_ns(self, capacity: int) -> int:
        """Half the spacing: a context frame is at most half the spacing older than it could be."""
        return self.spacing_ns // 2

    @property
    def waiting_spacing_ns(self) -> int:
        """The spacing."""
        return self.spacing_ns

    def _newest(self, stamps_ns: Sequence[int]) -> list[int]:
        """Indices of the context as far as there are frames, oldest first."""
        chosen: list[int] = []
        for index in range(len(stamps_ns) - 1, -1, -1):
            if len(chosen) == self.frames or stamps_ns[-1] - stamps_ns[index] > self.max_age_ns:
                break
            if not chosen or stamps_ns[chosen[-1]] - stamps_ns[index] >= self.spacing_ns:
                chosen.append(index)
        return chosen[::-1]

    def choose(self, stamps_ns: Sequence[int]) -> list[int] | None:
        """As `ContextRule.choose`; None while there are fewer frames than the least."""
        chosen = self._newest(stamps_ns)
        return chosen if len(chosen) >= self.least else None

    def filled(self, stamps_ns: Sequence[int]) -> int:
        """How many frames the context has."""
        return len(self._newest(stamps_ns))

    def needed(
        self, newest_ns: int, waiting_ns: Sequence[int], held_ns: Sequence[int]
    ) -> list[int]:
        """As `ContextRule.needed`: no more than make the smallest context; the rest may be missed.

        A model that is slower than its camera has a context of those frames that it came to.
        """
        held = [stamp for stamp in held_ns if stamp < newest_ns]
        usable = sorted(
            (
                index
                for index, stamp in enumerate(waiting_ns)
                if stamp < newest_ns and (not held or stamp > held[-1])
            ),
            key=lambda index: waiting_ns[index],
        )
        stamps = [waiting_ns[index] for index in usable] + [newest_ns]
        lacking = self.least - len(self._newest([*held, newest_ns]))
        chosen = self._newest(stamps)[:-1]
        return [usable[index] for index in chosen[len(chosen) - lacking :]] if lacking > 0 else []


def _rate(period_ns: int) -> str:
    return f"{NS_PER_S / period_ns:.3g}"
