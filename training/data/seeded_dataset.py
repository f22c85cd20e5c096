"""What clips and single images share: items drawn by number, damaged files, label spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import SEGMENTATION
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.recording import (
    LabelSpace,
    Recording,
    UnreadableFrame,
    check_kinds,
)

from .augmentation import ClipAugmentation, Size

_ATTEMPTS = 100


class SeededDataset(Dataset[dict[str, Any]]):
    """Items drawn at random in a way that depends on (seed, epoch, index) alone.

    An item whose files are damaged is replaced by another one, drawn the same way; `bad` counts
    and names the damaged ones.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        size: Size,
        augmentation: ClipAugmentation | None,
        seed: int,
        labels: Sequence[str],
        bad: BadFiles | None,
    ) -> None:
        check_kinds(labels)
        if min(size) < 1:
            raise UsageError(f"size {size[0]}x{size[1]}: give positive numbers of pixels")
        self.recordings = list(recordings)
        self.size = size
        self.augmentation = augmentation or ClipAugmentation()
        self.labels = tuple(labels)
        self.label_space = common_label_space(recordings) if SEGMENTATION in labels else None
        if bad is None:
            bad = BadFiles(sum(len(recording) for recording in recordings))
        self.bad = bad
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Change what is drawn. Worker processes have copies of their own: set it there too."""
        self._epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"items are 0 to {len(self) - 1}, not {index}")
        chosen = index
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self._seed, self._epoch, index, attempt])
            try:
                return self._item(chosen, rng)
            except UnreadableFrame as error:
                self.bad.add(f"{error.file}: frame {error.index}", str(error))
            chosen = int(rng.integers(len(self)))
        raise InputError(f"{_ATTEMPTS} items in a row cannot be read: {self.bad.summary()}")

    def __len__(self) -> int:
        raise NotImplementedError

    def _item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        raise NotImplementedError


def common_label_space(recordings: Sequence[Recording]) -> LabelSpace | None:
    """Return what segmentation ids mean in all the recordings that have them.

    Raises:
        InputError: two recordings disagree.
    """
    first: Recording | None = None
    for recording in recordings:
        if recording.label_space is None:
            continue
        if first is None:
            first = recording
        elif recording.label_space.class_names != first.label_space.class_names:  # type: ignore[union-attr]
            raise InputError(
                f"{first.name} and {recording.name} have different classes; where the kind of data "
                "allows it, write ?classes=world behind the path"
            )
    return None if first is None else first.label_space
