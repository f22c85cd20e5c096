"""Parts of the data, for training, validation and tests, that share no frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.recording import Recording
from dino_foresight_ros.stamps import NS_PER_S

_ENOUGH = 5
GAP_S = 2.0
"""Seconds between what is trained on and what is held out of one recording; a clip's length."""


def check_disjoint(first: Sequence[Recording], second: Sequence[Recording], uses: str) -> None:
    """Make sure that no frame is in both, nor the same moment by another camera of the rig.

    Args:
        first, second: recordings, or parts of some.
        uses: what would be done with a frame of both, such as "fitted on and scored".

    Raises:
        InputError: names the recording that shares frames or moments, and with which.
    """
    frames: dict[str, set[int]] = {}
    of_scene: dict[str, list[Recording]] = {}
    for recording in first:
        whole, indices = _frames(recording)
        frames.setdefault(whole.fingerprint, set()).update(indices)
        of_scene.setdefault(recording.scene, []).append(recording)
    for recording in second:
        whole, indices = _frames(recording)
        shared = frames.get(whole.fingerprint, set()).intersection(indices)
        if shared:
            raise InputError(
                f"{recording.name}: {len(shared)} of its frames would be {uses}; keep them apart, "
                "such as with part=0-0.7 and part=0.7-1"
            )
        for other in of_scene.get(recording.scene, ()):
            moments = _frames_within(recording, other)
            if moments and _frames(other)[0].fingerprint != whole.fingerprint:
                raise InputError(
                    f"{recording.name}: {moments} of its frames are of moments that {other.name} "
                    f"saw too, which would be {uses}; keep scenes apart, or say rig=NAME behind "
                    "each where they are of different vehicles"
                )


def _frames_within(recording: Recording, other: Recording) -> int:
    """Number of the frames that lie in the time of another one."""
    stamps = recording.stamps_ns
    return int(((stamps >= other.stamps_ns[0]) & (stamps <= other.stamps_ns[-1])).sum())


def _frames(recording: Recording) -> tuple[Recording, Iterable[int]]:
    if isinstance(recording, PartOfRecording):
        return recording.whole, recording.indices.tolist()
    return recording, range(len(recording))


def scene_numbers(recordings: Sequence[Recording], gap_s: float = GAP_S) -> list[int]:
    """Number recordings so that those of one scene and time share a number.

    Args:
        recordings: in any order.
        gap_s: seconds between two of one scene up to which they belong together.

    Returns:
        One number per recording, 0 to scenes - 1.
    """
    order = sorted(
        range(len(recordings)), key=lambda i: (recordings[i].scene, recordings[i].stamps_ns[0])
    )
    numbers = [0] * len(recordings)
    current, scene, reach_ns = -1, "", 0
    for place in order:
        one = recordings[place]
        begins_ns = int(one.stamps_ns[0])
        if current < 0 or one.scene != scene or begins_ns > reach_ns + round(gap_s * NS_PER_S):
            current, scene, reach_ns = current + 1, one.scene, begins_ns
        numbers[place] = current
        reach_ns = max(reach_ns, int(one.stamps_ns[-1]))
    return numbers


def split_recordings(
    recordings: Sequence[Recording], validation_share: float, seed: int, gap_s: float = GAP_S
) -> tuple[list[Recording], list[Recording]]:
    """Split into training and validation, by scene and time.

    What saw one scene at one time stays together: all cameras of a rig, all parts of a recording
    (`scene_numbers`). From five such groups on whole ones are held out: drawn by the seed until
    they have at least the share of all frames, the last one kept for training in any case. Of
    fewer the last part of each is held out, from the same instant on for all its recordings, and
    between the two parts `gap_s` seconds (the length of a clip) belong to neither.

    Raises:
        InputError: a part would be empty.
        UsageError: a share that is not between 0 and 1.
    """
    if not 0.0 < validation_share < 1.0:
        raise UsageError(f"validation share {validation_share:g}: give more than 0, less than 1")
    if not gap_s >= 0.0:
        raise UsageError(f"gap {gap_s:g} s: give a time from 0")
    groups = _groups(recordings, gap_s)
    if len(groups) >= _ENOUGH:
        held = _draw(groups, validation_share, seed)
        return (
            [one for one in recordings if id(one) not in held],
            [one for one in recordings if id(one) in held],
        )
    train: list[Recording] = []
    validation: list[Recording] = []
    for group in groups:
        start_ns = _held_from(group, validation_share)
        for recording in group:
            before, after = _cut(recording, start_ns, gap_s)
            train += before
            validation += after
    if not train:
        names = ", ".join(recording.name for recording in recordings) or "no recordings"
        raise InputError(
            f"{names}: nothing is left for training beside {validation_share:g} for validation and "
            f"a gap of {gap_s:g} s; give recordings of more than "
            f"{gap_s / (1 - validation_share):.3g} s, or validation data of its own"
        )
    return train, validation


def _groups(recordings: Sequence[Recording], gap_s: float) -> list[list[Recording]]:
    """Recordings of one scene and time together, in the order in which they were named."""
    groups: dict[int, list[Recording]] = {}
    for number, recording in zip(scene_numbers(recordings, gap_s), recordings, strict=True):
        groups.setdefault(number, []).append(recording)
    return list(groups.values())


def _draw(groups: Sequence[Sequence[Recording]], share: float, seed: int) -> set[int]:
    """Identities of the recordings that are held out."""
    # By name, so that the order in which data was named does not matter.
    by_name = sorted(groups, key=lambda group: min(recording.name for recording in group))
    wanted = share * sum(len(recording) for group in groups for recording in group)
    held: set[int] = set()
    frames = 0
    for place in np.random.default_rng([seed, 7]).permutation(len(by_name))[:-1]:
        if frames >= wanted:
            break
        held.update(id(recording) for recording in by_name[place])
        frames += sum(len(recording) for recording in by_name[place])
    return held


def _held_from(group: Sequence[Recording], share: float) -> int:
    """The stamp from which on the last share of a group's frames lies; never none of them."""
    stamps = np.sort(np.concatenate([recording.stamps_ns for recording in group]))
    first = min(max(round(len(stamps) * (1 - share)), 0), len(stamps) - 1)
    return int(stamps[first])


def _cut(
    recording: Recording, start_ns: int, gap_s: float
) -> tuple[list[Recording], list[Recording]]:
    """What lies before an instant and a gap, and from the instant on; each may be nothing."""
    before = np.flatnonzero(recording.stamps_ns < start_ns - round(gap_s * NS_PER_S))
    after = np.flatnonzero(recording.stamps_ns >= start_ns)
    return (
        [PartOfRecording(recording, before, f"{recording.name}@train")] if before.size else [],
        [PartOfRecording(recording, after, f"{recording.name}@validation")] if after.size else [],
    )
