"""Chooses the clips that are scored, by time stamps alone, before any frame is read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.spread import spread
from dino_foresight_ros.training.data import clip_indices
from dino_foresight_ros.training.evaluation.contexts import Setting, context_row, target_row
from dino_foresight_ros.training.evaluation.series import Series


@dataclass(frozen=True)
class Clip:
    """One context and the frames that are forecast from it; all are indices of frames.

    Attributes:
        recording: position in the list of recordings.
        series: position in the list of series.
        context: N_c frames, oldest first.
        targets: one per step of the series; -1 where that step is not scored.
        scored: whether its feature errors count.
        labelled: the steps (positions in the series' steps) whose labels are scored.
    """

    recording: int
    series: int
    context: tuple[int, ...]
    targets: tuple[int, ...]
    scored: bool
    labelled: tuple[int, ...] = ()

    @property
    def frames(self) -> set[int]:
        """Every frame that the clip needs."""
        return {*self.context, *(i for i in self.targets if i >= 0)}

    @property
    def first(self) -> int:
        """The earliest frame."""
        return min(self.frames)


def plan_clips(
    recordings: Sequence[Recording],
    series: Sequence[Series],
    context_frames: int,
    max_clips: int | None,
    label_kinds: Collection[str] = (),
    max_label_clips: int | None = None,
    only_labelled: bool = False,
) -> list[Clip]:
    """Choose the clips of every series, at most `max_clips` of each, evenly spread.

    All steps of a series are scored on the same clips, so that they can be compared. Labels are
    scored on those clips where enough of their targets are labelled; otherwise (Cityscapes labels
    one frame of thirty) on clips whose target is.

    Args:
        recordings, series: what to choose from, and what for.
        context_frames: of a clip.
        max_clips: of a series; None: all.
        label_kinds: labels that are scored.
        max_label_clips: of a step of a series; None: all.
        only_labelled: score no clip but those whose targets are all labelled.

    Returns:
        Clips by recording, and within one by their first frame.
    """
    clips: list[Clip] = []
    for number, one in enumerate(series):
        have = _labelled(recordings, label_kinds) if only_labelled and label_kinds else None
        complete = _candidates(recordings, one, context_frames, range(len(one.steps)), have)
        chosen = [complete[i] for i in spread(len(complete), max_clips or len(complete))]
        by_context = {
            (recording, context): Clip(recording, number, context, targets, True)
            for recording, context, targets in chosen
        }
        for step in _label_positions(one) if label_kinds else ():
            _add_labelled(
                by_context, recordings, number, one, step, context_frames, label_kinds,
                max_label_clips,
            )  # fmt: skip
        clips.extend(by_context.values())
    return sorted(clips, key=lambda clip: (clip.recording, clip.first, clip.series))


def fitting(recordings: Sequence[Recording], series: Series, context_frames: int) -> Series:
    """The series without its last steps, as far as no recording is long enough for them."""
    for count in range(len(series.steps), 0, -1):
        shorter = series.first(count)
        if _candidates(recordings, shorter, context_frames, range(count)):
            return shorter
    return series


def plan_stills(
    recordings: Sequence[Recording], series: int, kinds: Collection[str], limit: int | None
) -> list[Clip]:
    """Choose labelled frames by themselves, for the heads on true features.

    Args:
        recordings: what to choose from.
        series: number under which the stills are batched.
        kinds: kinds of label, of which a frame needs one.
        limit: at most so many frames, evenly spread; None: all.
    """
    frames = [
        (number, frame)
        for number, indices in enumerate(_labelled(recordings, kinds))
        for frame in indices.tolist()
    ]
    chosen = [frames[i] for i in spread(len(frames), limit or len(frames))]
    return [Clip(number, series, (), (frame,), False, (0,)) for number, frame in chosen]


def _labelled(recordings: Sequence[Recording], kinds: Collection[str]) -> list[NDArray[np.int64]]:
    """Per recording the frames that have a label of any of the kinds."""
    return [
        np.unique(np.concatenate([recording.labelled(kind) for kind in sorted(kinds)]))
        for recording in recordings
    ]


_Candidate = tuple[int, tuple[int, ...], tuple[int, ...]]
"""(recording, context, targets)."""


def _candidates(
    recordings: Sequence[Recording],
    series: Series,
    context_frames: int,
    positions: Sequence[int],
    only: Sequence[NDArray[np.int64]] | None = None,
) -> list[_Candidate]:
    """Every clip that has the given steps; with targets among `only` (per recording)."""
    ahead = [series.target_offsets_s()[position] for position in positions]
    context_frames = series.context_frames(context_frames)
    offsets = (*series.context_offsets_s(context_frames), *ahead)
    found: list[_Candidate] = []
    for number, recording in enumerate(recordings):
        if series.context is None:
            tolerance_s = series.tolerance_s(context_frames, recording.stamps_ns)
            rows = clip_indices(recording.stamps_ns, offsets, tolerance_s)
        else:
            rows = _rows_as_set(recording.stamps_ns, series.context, ahead, number)
        if only is not None:
            rows = rows[np.isin(rows[:, context_frames:], only[number]).all(axis=1)]
        for row in rows.tolist():
            targets = [-1] * len(series.steps)
            for position, frame in zip(positions, row[context_frames:], strict=True):
                targets[position] = frame
            found.append((number, tuple(row[:context_frames]), tuple(targets)))
    return found


def _rows_as_set(
    stamps_ns: NDArray[np.int64], setting: Setting, ahead_s: Sequence[float], number: int
) -> NDArray[np.int64]:
    """(clips, N + S) frames of contexts that lie as a setting says, and of targets near instants.

    What is random of a context depends on the recording's number and the newest frame alone, so the
    same is drawn whatever steps are asked for.
    """
    rows = []
    for newest in range(len(stamps_ns)):
        context = context_row(
            stamps_ns, newest, setting.offsets_s(np.random.default_rng([number, newest]))
        )
        targets = target_row(stamps_ns, newest, ahead_s)
        if context is not None and targets is not None:
            rows.append([*context, *targets])
    return np.array(rows, np.int64).reshape(len(rows), setting.frames + len(ahead_s))


def _label_positions(series: Series) -> list[int]:
    return [series.steps.index(step) for step in series.label_steps]


def _add_labelled(
    clips: dict[tuple[int, tuple[int, ...]], Clip],
    recordings: Sequence[Recording],
    number: int,
    series: Series,
    step: int,
    context_frames: int,
    kinds: Collection[str],
    limit: int | None,
) -> None:
    """Choose the clips whose labels are scored at one step, and note them in `clips`."""
    have = _labelled(recordings, kinds)
    candidates = _candidates(recordings, series, context_frames, [step], have)
    limit = len(candidates) if limit is None else min(limit, len(candidates))
    at_hand = [
        candidate
        for candidate in candidates
        if (clip := clips.get(candidate[:2])) is not None
        and clip.targets[step] == candidate[2][step]
    ]
    pool = at_hand if len(at_hand) >= limit else candidates
    for i in spread(len(pool), limit):
        recording, context, targets = pool[i]
        clip = clips.get((recording, context))
        if clip is None:
            clip = Clip(recording, number, context, targets, False)
        merged = tuple(max(a, b) for a, b in zip(clip.targets, targets, strict=True))
        clips[recording, context] = Clip(
            recording, number, context, merged, clip.scored, (*clip.labelled, step)
        )
