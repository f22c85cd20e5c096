"""Clips as batches of features: each frame read and encoded once, recording by recording."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import DEPTH, INSTANCES
from dino_foresight_ros.recordings import Frame, Recording, UnreadableFrame
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.training.evaluation.clip_plan import Clip


class FrameWindow:
    """Holds what the clips at hand need on the CPU, in float16 as the feature store does.

    Attributes:
        bad: indices of frames that could not be read -> why.
    """

    def __init__(
        self,
        bundle: Bundle,
        recording: Recording,
        labelled: Collection[int] = (),
        label_kinds: Collection[str] = (),
        raw: bool = False,
        keep_images: Collection[int] = (),
        batch: int = 8,
        half: bool = True,
    ) -> None:
        """Start empty.

        Args:
            bundle: whose encoder and PCA make the features.
            recording: where frames come from.
            labelled: frames whose labels are kept.
            label_kinds: which of their labels.
            raw: keep what the encoder gave, too.
            keep_images: frames whose pictures are kept for good.
            batch: frames in one pass of the encoder.
            half: keep features as float16; False: as they are.
        """
        self._half = half
        self._bundle = bundle
        self._recording = recording
        self._kinds = tuple(kind for kind in label_kinds if recording.labelled(kind).size)
        self._labelled = frozenset(labelled)
        self._raw = raw
        self._keep_images = frozenset(keep_images)
        self._batch = batch
        self._features: dict[int, Tensor] = {}
        self._raw_features: dict[int, Tensor] = {}
        self.labels: dict[int, Scene] = {}
        self.images: dict[int, np.ndarray] = {}
        self.bad: dict[int, UnreadableFrame] = {}

    def __len__(self) -> int:
        return len(self._features)

    def load(self, frames: Collection[int]) -> None:
        """Read and encode the frames that are not there yet.

        Raises:
            InputError: the encoder gives NaN or numbers beyond float16 for a frame.
        """
        missing = sorted(set(frames) - self._features.keys() - self.bad.keys())
        for start in range(0, len(missing), self._batch):
            self._encode(missing[start : start + self._batch])

    def _encode(self, indices: Sequence[int]) -> None:
        with_labels = [i for i in indices if i in self._labelled]
        without = [i for i in indices if i not in self._labelled]
        read = [*self._read(with_labels, self._kinds), *self._read(without, ())]
        if not read:
            return
        encoder, pca = self._bundle.encoder, self._bundle.pca
        with torch.inference_mode():
            raw = encoder(encoder.preprocess(np.stack([frame.image for _, frame in read])))
            features = self._kept(pca.transform(raw))
        for row, (index, frame) in enumerate(read):
            if not bool(torch.isfinite(features[row]).all()):
                raise InputError(
                    f"{self._recording.frame_file(index)}: frame {index} gives features that are "
                    "NaN or beyond float16; the bundle's encoder or PCA is damaged"
                )
            self._features[index] = features[row]
            if self._raw:
                self._raw_features[index] = self._kept(raw[row])
            if index in self._labelled:
                self.labels[index] = frame.labels
            if index in self._keep_images:
                self.images[index] = frame.image

    def _kept(self, features: Tensor) -> Tensor:
        return (features.half() if self._half else features).cpu()

    def _read(self, indices: Sequence[int], kinds: Collection[str]) -> list[tuple[int, Frame]]:
        if not len(indices):
            return []
        try:
            return list(zip(indices, self._recording.read(indices, kinds), strict=True))
        except UnreadableFrame:
            pass
        read = []
        for index in indices:
            try:
                read.append((index, self._recording.read([index], kinds)[0]))
            except UnreadableFrame as error:
                self.bad[index] = error
        return read

    def features(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(B, T, h, w, C) PCA features in the bundle's number format, on its device."""
        return self._stacked(self._features, rows)

    def raw_features(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """(B, T, h, w, L*D) what the encoder gave, before the PCA."""
        return self._stacked(self._raw_features, rows)

    def _stacked(self, kept: dict[int, Tensor], rows: Sequence[Sequence[int]]) -> Tensor:
        # A target that is not scored (-1) still needs a place in the batch.
        blank = torch.zeros_like(next(iter(kept.values())))
        stacked = torch.stack([torch.stack([kept.get(i, blank) for i in row]) for row in rows])
        return stacked.to(self._bundle.device, self._bundle.dtype)

    def forget_before(self, index: int) -> None:
        """Drop everything of earlier frames, kept images aside."""
        for old in [i for i in self._features if i < index]:
            for kept in (self._features, self._raw_features, self.labels):
                kept.pop(old, None)  # type: ignore[attr-defined]


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
        raw_newest: (B, h, w, L*D) of the newest context frame; None likewise, and of stills.
        window: where the clips' labels and kept images are.
    """

    clips: Sequence[Clip]
    context: Tensor
    targets: Tensor
    raw_targets: Tensor | None
    window: FrameWindow
    raw_newest: Tensor | None = None


def stream_clips(
    bundle: Bundle,
    recordings: Sequence[Recording],
    clips: Sequence[Clip],
    *,
    batch: int,
    label_kinds: Collection[str] = (),
    raw: bool = False,
    past_depth: bool = False,
    past_instances: bool = False,
    half: bool = True,
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
        half: keep features as float16.
        past_instances: also read the labels of the newest context frame.
        past_depth: also read the labels of the newest context frame that has true depth.
        keep_images: frames of a recording whose pictures and labels are kept.
        on_clips: called with the number of clips that are done.
        on_bad: called once per frame that cannot be read; its clips are left out. Raise there to
            give up. None: raise at once.
    """
    for number, of_recording in groupby(clips, key=lambda clip: clip.recording):
        planned = list(of_recording)
        labelled = {clip.targets[step] for clip in planned for step in clip.labelled}
        if past_depth:
            labelled |= _newest_with_depth(recordings[number], planned)
        if past_instances:
            have = set(recordings[number].labelled(INSTANCES).tolist())
            labelled |= {c.context[-1] for c in planned if c.labelled and c.context} & have
        images = keep_images(number)
        window = FrameWindow(
            bundle,
            recordings[number],
            labelled.union(images),
            label_kinds,
            raw,
            images,
            batch,
            half,
        )
        for start in range(0, len(planned), batch * CHUNK):
            chunk = planned[start : start + batch * CHUNK]
            window.forget_before(chunk[0].first)
            yield from _batches(window, chunk, batch, raw, on_bad)
            on_clips(len(chunk))


def _newest_with_depth(recording: Recording, clips: Sequence[Clip]) -> set[int]:
    """Of every clip whose labels are scored the newest context frame that has true depth."""
    have = set(recording.labelled(DEPTH).tolist())
    found = [
        next((frame for frame in reversed(clip.context) if frame in have), None)
        for clip in clips
        if clip.labelled
    ]
    return {frame for frame in found if frame is not None}


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
                window.raw_features([clip.context[-1:] for clip in clips])[:, 0]
                if raw and clips[0].context
                else None,
            )
