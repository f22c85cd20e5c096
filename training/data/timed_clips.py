"""Clips at random distances in time, for forecasters that take frames of any instants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import nearest_frames
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.recording import Recording
from dino_foresight_ros.stamps import NS_PER_S

from .augmentation import ClipAugmentation, Size
from .datasets import ClipDataset
from .seeded_dataset import SeededDataset


@dataclass(frozen=True)
class ClipTiming:
    """How far apart the frames of a clip lie.

    Attributes:
        context_frames: frames before the last one.
        gaps_s: least and most seconds from frame to frame; drawn uniformly in their logarithm, so
            that no camera rate is rare.
        horizons_s: least and most seconds from the context's newest frame to the last frame, drawn
            uniformly; one more gap when None.
        nominal_s: seconds of a nominal gap and of a nominal horizon.
        nominal_share: fraction of clips whose gaps are nominal, and, apart from that, of clips
            whose horizon is.
        steady_share: fraction of the other clips with one gap, as a camera's; in the rest each gap
            is drawn by itself, as where frames are dropped.
    """

    context_frames: int
    gaps_s: tuple[float, float]
    horizons_s: tuple[float, float] | None
    nominal_s: float
    nominal_share: float = 0.5
    steady_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("gaps_s", "horizons_s"):
            bounds = getattr(self, name)
            if bounds is not None and not 0 < bounds[0] <= bounds[1] < np.inf:
                raise UsageError(f"{name} {list(bounds)}: give 0 < least <= most, in seconds")

    @property
    def longest_s(self) -> float:
        """Most seconds from a clip's first frame to its last."""
        gap_s = max(self.gaps_s[1], self.nominal_s)
        last_s = gap_s if self.horizons_s is None else max(self.horizons_s[1], self.nominal_s)
        return (self.context_frames - 1) * gap_s + last_s

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Seconds from the context's newest frame, (context_frames + 1,), rising."""
        count = self.context_frames
        nominal_gap, steady, nominal_horizon = rng.random(3) < (
            self.nominal_share, self.steady_share, self.nominal_share
        )  # fmt: skip
        least, most = np.log(self.gaps_s)
        gaps = np.exp(rng.uniform(least, most, count))
        if nominal_gap:
            gaps[:] = self.nominal_s
        elif steady:
            gaps[:] = gaps[0]
        horizon = gaps[-1] if self.horizons_s is None else rng.uniform(*self.horizons_s)
        if nominal_horizon and self.horizons_s is not None:
            horizon = self.nominal_s
        before = np.concatenate([[0.0], gaps[: count - 1].cumsum()])[::-1]
        return np.append(-before, horizon)


class TimedClips(ClipDataset):
    """Clips of a `ClipTiming`: of each recording as many items as clips could end at its frames.

    An item is as `ClipDataset`'s; the frames nearest to the drawn instants are taken, all of them
    different, and `stamps_ns` says when they really were. In a recording shorter than a drawn clip
    the clip is shortened.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        timing: ClipTiming,
        size: Size,
        augmentation: ClipAugmentation | None = None,
        seed: int = 0,
        *,
        bad: BadFiles | None = None,
    ) -> None:
        """Count the clips; arguments as ClipDataset's.

        Raises:
            InputError: no recording has enough frames.
        """
        SeededDataset.__init__(self, recordings, size, augmentation, seed, (), bad)
        self.timing = timing
        self.frames = timing.context_frames + 1
        counts = [max(0, len(r) - timing.context_frames) * r.times for r in self.recordings]
        self._ends = np.cumsum(counts, dtype=np.int64)
        if not sum(counts):
            raise InputError(self._nothing())

    def _nothing(self) -> str:
        if not self.recordings:
            return "no recordings to take clips from"
        names = ", ".join(recording.name for recording in self.recordings[:5])
        return (
            f"no recording has the {self.frames} frames of a clip ({names}); give recordings of "
            f"{self._least_s():.3g} s or more"
        )

    def _least_s(self) -> float:
        """Seconds that the frames of a clip take at the rate of the fastest recording."""
        known = [r.duration_s / (len(r) - 1) for r in self.recordings if len(r) > 1]
        return (self.frames - 1) * (min(known) if known else self.timing.nominal_s)

    def _draw_clip(
        self, index: int, rng: np.random.Generator
    ) -> tuple[Recording, NDArray[np.int64], float]:
        """Draw a clip of an item's recording; return that, the frames (T,) and the mean gap."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        recording = self.recordings[number]
        first = int(self._ends[number - 1]) if number else 0
        place = (index - first + rng.random()) / (int(self._ends[number]) - first)
        is_backwards = rng.random() < self.augmentation.time_flip
        stamps = recording.stamps_ns
        if is_backwards:
            stamps = -stamps[::-1]
        row = timed_row(stamps, self.timing.draw(rng), place)
        gap_s = float(np.ptp(stamps[row])) / NS_PER_S / (len(row) - 1)
        return recording, len(stamps) - 1 - row if is_backwards else row, gap_s


def timed_row(
    stamps_ns: NDArray[np.int64], offsets_s: NDArray[np.float64], place: float
) -> NDArray[np.int64]:
    """The frames of one clip: nearest to its instants, rising, and all different.

    Args:
        stamps_ns: (N,) strictly rising, N >= T.
        offsets_s: (T,) rising seconds, the last but one 0.
        place: where among all clips of the recording, 0 to 1.

    Returns:
        (T,) indices.
    """
    offsets = np.round(offsets_s * NS_PER_S)
    duration = float(stamps_ns[-1] - stamps_ns[0])
    if offsets[-1] - offsets[0] > duration:
        offsets *= duration / (offsets[-1] - offsets[0])
    room = duration - (offsets[-1] - offsets[0])
    instants = stamps_ns[0] + (place * room - offsets[0] + offsets).astype(np.int64)
    # The newest context frame is a frame; all other instants are counted from it.
    newest = stamps_ns[nearest_frames(stamps_ns, instants[-2:-1])[0]]
    row = nearest_frames(stamps_ns, newest + offsets.astype(np.int64))
    last, steps = len(stamps_ns) - 1, np.arange(len(row))
    # Strictly rising: row[k] - k must not fall. From the end backwards, then within the recording.
    level = np.minimum.accumulate((row - steps)[::-1])[::-1]
    return np.clip(level, 0, last - steps[-1]) + steps
