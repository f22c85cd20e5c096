"""How the frames of a context lie: evenly, with jitter, with frames missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import nearest_frames
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import MAX_CONTEXT_FRAMES
from dino_foresight_ros.stamps import NS_PER_S

NEAR = 0.3
"""How far off a horizon a frame may lie, as a fraction of it."""


TRUE, UNKNOWN, ANOTHER = MOTIONS = ("true", "unknown", "another clip's")
"""What a forecaster that takes motion is told."""


@dataclass(frozen=True)
class Setting:
    """How a context lies, and how far horizons are asked for.

    Attributes:
        frames: of the context.
        gap_s: between them.
        jitter: how far each frame may lie off its instant, as a fraction of the gap.
        missing: probability that a frame but the newest is dropped; an older one comes in for it.
        feed_back_beyond_s: of a world forecaster; asked directly when None.
        motion: what a forecaster that takes motion is told: "true", "unknown", or "another
            clip's".
        turns: of contexts alone after which the vehicle turns by more than 5 degrees within 1 s.
    """

    frames: int = 4
    gap_s: float = 0.2
    jitter: float = 0.0
    missing: float = 0.0
    feed_back_beyond_s: float | None = None
    motion: str = UNKNOWN
    turns: bool = False

    @property
    def name(self) -> str:
        """For people."""
        words = [f"{self.frames} frames {self.gap_s:g} s apart"]
        words += [f"jitter {100 * self.jitter:g} %"] if self.jitter else []
        words += [f"{100 * self.missing:g} % missing"] if self.missing else []
        words += [f"{self.motion} motion"] if self.motion != UNKNOWN else []
        words += ["on turns"] if self.turns else []
        if self.feed_back_beyond_s is not None:
            words.append(f"fed back every {self.feed_back_beyond_s:g} s")
        return ", ".join(words)

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= MAX_CONTEXT_FRAMES:
            raise UsageError(f"{self.frames} context frames; it must be 1 to {MAX_CONTEXT_FRAMES}")
        if not (math.isfinite(self.gap_s) and 0 < self.gap_s <= 10):
            raise UsageError(f"a gap of {self.gap_s} s is not above 0 and up to 10 s")
        if not 0 <= self.jitter < 0.5:
            raise UsageError(f"jitter {self.jitter} is not 0 or more and below 0.5 of the gap")
        if not 0 <= self.missing < 0.9:
            raise UsageError(f"missing {self.missing} is not 0 or more and below 0.9")

    def offsets_s(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Seconds from the newest frame, (frames,), rising, the last one 0."""
        steps: list[float] = []
        step = 0
        while len(steps) < self.frames - 1:
            step += 1
            if rng.random() >= self.missing:
                steps.append(step + rng.uniform(-self.jitter, self.jitter))
        return -np.append(0.0, steps)[::-1] * self.gap_s


def context_row(
    stamps_ns: NDArray[np.int64], newest: int, offsets_s: NDArray[np.float64]
) -> NDArray[np.int64] | None:
    """Frames nearest to the instants of a context.

    Args:
        stamps_ns: of a recording.
        newest: the newest frame of the context.
        offsets_s: (N,) seconds from it, rising, the last one 0.

    Returns:
        (N,) indices; None where it begins before the recording, or a frame would stand in twice.
    """
    offsets_ns = np.round(offsets_s * NS_PER_S).astype(np.int64)
    if stamps_ns[newest] + offsets_ns[0] < stamps_ns[0]:
        return None
    row = nearest_frames(stamps_ns, stamps_ns[newest] + offsets_ns)
    return row if (np.diff(row) > 0).all() else None


def target_row(
    stamps_ns: NDArray[np.int64], newest: int, ahead_s: Sequence[float]
) -> NDArray[np.int64] | None:
    """Frames nearest to instants after the newest one of a context.

    Returns:
        (S,) indices; None where one is further off than `NEAR` of its horizon, or the recording
        ends before.
    """
    wanted_ns = stamps_ns[newest] + np.round(np.asarray(ahead_s) * NS_PER_S).astype(np.int64)
    row = nearest_frames(stamps_ns, wanted_ns)
    off_s = np.abs(stamps_ns[row] - wanted_ns) / NS_PER_S
    near = (off_s <= NEAR * np.asarray(ahead_s)) & (row > newest) & (wanted_ns <= stamps_ns[-1])
    return row if near.all() else None
