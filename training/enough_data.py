"""Whether recordings are long enough, asked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.recording import Frame
from dino_foresight_ros.stamps import NS_PER_S

from .data import split_recordings
from .forecaster_data import split_clips
from .forecaster_setup import make_clips, make_validation_clips
from .intervals import frame_spacing_s, resolve_intervals
from .reading import pick_frames
from .recipes import ForecasterRecipe
from .train_head import head_gap_s

LONGEST_S = 3600.0
"""A least length is looked for up to here, in seconds."""


def check_trainable(
    recordings: Sequence[Recording],
    recipe: ForecasterRecipe,
    validation_share: float,
    stride_s: float | None = None,
) -> ForecasterRecipe:
    """Make sure that a forecaster can be trained and validated on recordings.

    Finds the clips as the training does, which reads stamps alone.

    Args:
        recordings: to train on.
        recipe: of the forecaster.
        validation_share: fraction that is held out, 0 to 1.
        stride_s: seconds between the frames that are encoded; None: all.

    Returns:
        The recipe with its intervals stated.

    Raises:
        InputError: nothing is left to train on or to validate on.
    """
    encoded = [
        PartOfRecording(one, pick_frames(one.stamps_ns, stride_s), one.name) for one in recordings
    ]
    data = split_clips(encoded, validation_share, recipe)
    resolved = resolve_intervals(recipe, data.train)
    make_clips(resolved, data)
    make_validation_clips(resolved, data)
    return resolved


def check_labelled(
    recordings: Sequence[Recording], kind: str, validation_share: float, seed: int
) -> None:
    """Make sure that a head of single pictures can be trained and validated on recordings.

    Args:
        recordings: to train on.
        kind: of labels.
        validation_share: fraction that is held out, 0 to 1.
        seed: of the recipe, which draws what is held out.

    Raises:
        InputError: no label would be left to train on or to validate on.
    """
    splits = split_recordings(recordings, validation_share, seed, head_gap_s())
    for use, part in zip(("train", "validate"), splits, strict=True):
        if not any(one.labelled(kind).size for one in part):
            names = ", ".join(one.name for one in part[:5])
            raise InputError(
                f"no {kind} to {use} a head on in {names}; give more labels, or another "
                "--validation-share"
            )


def check_measurable(recordings: Sequence[Recording], frames: int, interval_s: float) -> None:
    """Make sure that the longest recording holds a clip.

    Raises:
        InputError: none does.
    """
    longest = max(recordings, key=lambda recording: recording.duration_s)
    clip_s = (frames - 1) * interval_s
    if longest.duration_s < clip_s:
        raise InputError(
            f"nothing to measure on: {longest.name} is the longest with "
            f"{longest.duration_s:.1f} s, a clip of {frames} frames takes {clip_s:.1f} s"
        )


def first_share(recording: Recording, share: float) -> Recording:
    """The first frames of a recording: a fraction of their number."""
    frames = np.arange(len(recording))
    return PartOfRecording(recording, frames[frames < share * len(recording)], recording.name)


def last_share(recording: Recording, share: float) -> Recording:
    """The last frames of a recording: a fraction of their number."""
    frames = np.arange(len(recording))
    return PartOfRecording(
        recording, frames[frames >= (1 - share) * len(recording)], recording.name
    )


def least_duration_s(
    recordings: Sequence[Recording], check: Callable[[Sequence[Recording]], object]
) -> float | None:
    """Return how long recordings must be to pass a check: as many, with as many frames a second.

    Args:
        recordings: those that did not pass.
        check: raises InputError for recordings that are too short.

    Returns:
        Seconds of each, in steps of half a second; None where an hour would not do.
    """
    try:
        spacing_s = frame_spacing_s(recordings)
    except InputError:
        return None

    def passes(half_seconds: int) -> bool:
        count = int(half_seconds / 2 / spacing_s) + 1
        even = [_Even(number, count, spacing_s) for number in range(len(recordings))]
        try:
            check(even)
        except InputError:
            return False
        return True

    low, high = 0, 8
    while not passes(high):
        low, high = high, 2 * high
        if high > 2 * LONGEST_S:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high / 2


class _Even(Recording):
    """Stamps of frames that come evenly, without pictures."""

    def __init__(self, number: int, count: int, spacing_s: float) -> None:
        stamps_ns = np.round(np.arange(count) * spacing_s * NS_PER_S).astype(np.int64)
        super().__init__(f"{count} frames ({number})", stamps_ns, (1, 1))

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        raise InputError(f"{self.name} has no pictures")

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.name
