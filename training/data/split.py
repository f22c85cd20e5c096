"""Parts of the data, for training, validation and tests, that share no frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.recording import NS_PER_S, PartOfRecording, Recording

_ENOUGH = 5


def check_disjoint(first: Sequence[Recording], second: Sequence[Recording], uses: str) -> None:
    """Make sure that no frame is in both.

    Args:
        first, second: recordings, or parts of some.
        uses: what would be done with a frame of both, such as "fitted on and scored".

    Raises:
        InputError: names the recording that shares frames.
    """
    frames: dict[str, set[int]] = {}
    for recording in first:
        whole, indices = _frames(recording)
        frames.setdefault(whole.fingerprint, set()).update(indices)
    for recording in second:
        whole, indices = _frames(recording)
        shared = frames.get(whole.fingerprint, set()).intersection(indices)
        if shared:
            raise InputError(
                f"{recording.name}: {len(shared)} of its frames would be {uses}; keep them apart, "
                "such as with part=0-0.7 and part=0.7-1"
            )


def _frames(recording: Recording) -> tuple[Recording, Iterable[int]]:
    if isinstance(recording, PartOfRecording):
        return recording.whole, recording.indices.tolist()
    return recording, range(len(recording))


def split_recordings(
    recordings: Sequence[Recording], validation_share: float, seed: int, gap_s: float = 2.0
) -> tuple[list[Recording], list[Recording]]:
    """Split into training and validation.

    From five recordings on whole ones are held out: drawn by the seed until they have at least
    the share of all frames, the last one kept for training in any case. Of fewer the last part of
    each is held out, and between the two parts `gap_s` seconds (the length of a clip) belong to
    neither.

    Raises:
        InputError: a part would be empty.
        UsageError: a share that is not between 0 and 1.
    """
    if not 0.0 < validation_share < 1.0:
        raise UsageError(f"validation share {validation_share:g}: give more than 0, less than 1")
    if not gap_s >= 0.0:
        raise UsageError(f"gap {gap_s:g} s: give a time from 0")
    if len(recordings) >= _ENOUGH:
        return _split_whole(recordings, validation_share, seed)
    parts = [_split_one(recording, validation_share, gap_s) for recording in recordings]
    train = [part for part, _ in parts if part is not None]
    validation = [part for _, part in parts]
    if not train:
        names = ", ".join(recording.name for recording in recordings) or "no recordings"
        raise InputError(
            f"{names}: nothing is left for training beside {validation_share:g} for validation and "
            f"a gap of {gap_s:g} s; give longer recordings or validation data of its own"
        )
    return train, validation


def _split_whole(
    recordings: Sequence[Recording], share: float, seed: int
) -> tuple[list[Recording], list[Recording]]:
    # By name, so that the order in which data was named does not matter.
    by_name = sorted(range(len(recordings)), key=lambda number: recordings[number].name)
    wanted = share * sum(len(recording) for recording in recordings)
    held: set[int] = set()
    frames = 0
    for place in np.random.default_rng([seed, 7]).permutation(len(by_name))[:-1]:
        if frames >= wanted:
            break
        held.add(by_name[place])
        frames += len(recordings[by_name[place]])
    train = [recording for number, recording in enumerate(recordings) if number not in held]
    return train, [recording for number, recording in enumerate(recordings) if number in held]


def _split_one(
    recording: Recording, share: float, gap_s: float
) -> tuple[Recording | None, Recording]:
    count = len(recording)
    first = min(max(round(count * (1 - share)), 0), count - 1)
    start_ns = recording.stamps_ns[first]
    before = np.flatnonzero(recording.stamps_ns < start_ns - round(gap_s * NS_PER_S))
    validation = PartOfRecording(recording, np.arange(first, count), f"{recording.name}@validation")
    if before.size == 0:
        return None, validation
    return PartOfRecording(recording, before, f"{recording.name}@train"), validation
