"""A part of a recording, such as its first half, as a recording."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.motion import EgoMotion
from dino_foresight_ros.recordings.recording import LABEL_KINDS, Frame, Recording


class PartOfRecording(Recording):
    """Some frames of another recording, such as its first half."""

    def __init__(self, whole: Recording, indices: NDArray[np.int64], name: str) -> None:
        indices = np.ascontiguousarray(indices, np.int64)
        if indices.size == 0:
            raise InputError(f"{name}: no frame of the {len(whole)} lies in that part")
        times = whole.times
        if isinstance(whole, PartOfRecording):
            indices, whole = whole.indices[indices], whole.whole
        self.whole: Recording = whole
        self.indices: NDArray[np.int64] = indices
        labelled = {
            kind: np.flatnonzero(np.isin(indices, whole.labelled(kind))) for kind in LABEL_KINDS
        }
        super().__init__(
            name,
            whole.stamps_ns[indices],
            whole.size,
            label_space=whole.label_space,
            labelled=labelled,
        )
        self.times = times
        self.camera = whole.camera
        self.labelled_by = whole.labelled_by
        self.depth_is_metric = whole.depth_is_metric
        self.depth_is_complete = whole.depth_is_complete
        self.split = whole.split

    @property
    def scene(self) -> str:
        """Of the whole."""
        return self.whole.scene

    def set_rig(self, name: str) -> None:
        """Of the whole."""
        self.whole.set_rig(name)

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moves, where that is known."""
        ego = self.whole.ego
        return None if ego is None else ego.at(self.indices)

    @property
    def base_from_optical(self) -> NDArray[np.float64] | None:
        """Of the whole."""
        return self.whole.base_from_optical

    def frame_file(self, index: int) -> str:
        """Return the file of a frame, as it is named in messages."""
        return self.whole.frame_file(int(self.indices[index]))

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        (frame,) = self.whole.read(self.indices[index : index + 1], labels)
        return replace(frame, index=index)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.whole.fingerprint
        yield self.indices.tobytes().hex()
