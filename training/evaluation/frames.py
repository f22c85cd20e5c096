"""Features of a recording's frames: each encoded once, dropped when no clip needs it any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.training.data import FrameLabels, LabelledFrame, Recording, UnreadableFrame


class FrameWindow:
    """Holds what the clips at hand need, in float16 on the CPU, as the feature store does.

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
        """
        self._bundle = bundle
        self._recording = recording
        self._kinds = tuple(kind for kind in label_kinds if recording.labelled(kind).size)
        self._labelled = frozenset(labelled)
        self._raw = raw
        self._keep_images = frozenset(keep_images)
        self._batch = batch
        self._features: dict[int, Tensor] = {}
        self._raw_features: dict[int, Tensor] = {}
        self.labels: dict[int, FrameLabels] = {}
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
            features = pca.transform(raw).half().cpu()
        for row, (index, frame) in enumerate(read):
            if not bool(torch.isfinite(features[row]).all()):
                raise InputError(
                    f"{self._recording.frame_file(index)}: frame {index} gives features that are "
                    "NaN or beyond float16; the bundle's encoder or PCA is damaged"
                )
            self._features[index] = features[row]
            if self._raw:
                self._raw_features[index] = raw[row].half().cpu()
            if index in self._labelled:
                self.labels[index] = frame.labels
            if index in self._keep_images:
                self.images[index] = frame.image

    def _read(
        self, indices: Sequence[int], kinds: Collection[str]
    ) -> list[tuple[int, LabelledFrame]]:
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
