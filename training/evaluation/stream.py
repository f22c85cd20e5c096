"""Clips as batches of features, recording by recording, in one pass over the frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.training.data import Recording, UnreadableFrame
from dino_foresight_ros.training.evaluation.clips import Clip
from dino_foresight_ros.training.evaluation.frames import FrameWindow

CHUNK = 4
"""Batches that are planned together; clips of one series in them share a batch."""


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one series.

    Attributes:
        clips: B of them, all of one recording.
        context: (B, N_c, h, w, C); N_c is 0 for stills.
        targets: (B, S, h, w, C), zeros where a clip's target is -1.
        raw_targets: (B, S, h, w, L*D) before the PCA; None unless asked for.
        window: where the clips' labels and kept images are.
    """

    clips: Sequence[Clip]
    context: Tensor
    targets: Tensor
    raw_targets: Tensor | None
    window: FrameWindow


def stream_clips(
    bundle: Bundle,
    recordings: Sequence[Recording],
    clips: Sequence[Clip],
    *,
    batch: int,
    label_kinds: Collection[str] = (),
    raw: bool = False,
    keep_images: Callable[[int], Collection[int]] = lambda recording: (),
    on_clips: Callable[[int], object] = lambda count: None,
    on_bad: Callable[[UnreadableFrame], None] | None = None,
) -> Iterator[ClipBatch]:
    """Read, encode and batch.

    Args:
        bundle: whose encoder and PCA make the features.
        recordings: what the clips' numbers refer to.
        clips: in the order that `plan_clips` gives.
        batch: clips in one pass, and frames in one pass of the encoder.
        label_kinds: labels to read for the clips' labelled targets.
        raw: keep what the encoder gave, too.
        keep_images: frames of a recording whose pictures and labels are kept.
        on_clips: called with the number of clips that are done.
        on_bad: called once per frame that cannot be read; its clips are left out. Raise there to
            give up. None: raise at once.
    """
    for number, of_recording in groupby(clips, key=lambda clip: clip.recording):
        planned = list(of_recording)
        labelled = {clip.targets[step] for clip in planned for step in clip.labelled}
        images = keep_images(number)
        window = FrameWindow(
            bundle, recordings[number], labelled.union(images), label_kinds, raw, images, batch
        )
        for start in range(0, len(planned), batch * CHUNK):
            chunk = planned[start : start + batch * CHUNK]
            window.forget_before(chunk[0].first)
            yield from _batches(window, chunk, batch, raw, on_bad)
            on_clips(len(chunk))


def _batches(
    window: FrameWindow,
    chunk: Sequence[Clip],
    batch: int,
    raw: bool,
    on_bad: Callable[[UnreadableFrame], None] | None,
) -> Iterator[ClipBatch]:
    known = set(window.bad)
    window.load(set().union(*(clip.frames for clip in chunk)))
    for index in sorted(window.bad.keys() - known):
        if on_bad is None:
            raise window.bad[index]
        on_bad(window.bad[index])
    readable = [clip for clip in chunk if not clip.frames & window.bad.keys()]
    for _, of_series in groupby(sorted(readable, key=lambda c: c.series), key=lambda c: c.series):
        whole = list(of_series)
        for start in range(0, len(whole), batch):
            clips = whole[start : start + batch]
            targets = [clip.targets for clip in clips]
            yield ClipBatch(
                clips,
                window.features([clip.context for clip in clips])
                if clips[0].context
                else window.features(targets)[:, :0],
                window.features(targets),
                window.raw_features(targets) if raw else None,
                window,
            )
