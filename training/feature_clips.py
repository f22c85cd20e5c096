"""Clips of features from disk, chosen and split by the same code as clips of pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.motion import EgoMotion
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.recording import Frame

from .data import ClipAugmentation, ClipDataset, ClipTiming, TimedClips


class Stored(Protocol):
    """A recording of a feature store."""

    name: str
    fingerprint: str
    scene: str
    stamps_ns: NDArray[np.int64]
    times: int
    ego: EgoMotion | None
    base_from_optical: NDArray[np.float64] | None

    def read(self, indices: Sequence[int]) -> Tensor:
        """(n,) frame indices -> (n, h, w, C) float16."""
        ...


class FeatureRecording(Recording):
    """A recording of which there are features instead of pictures."""

    def __init__(self, stored: Stored, grid: tuple[int, int]) -> None:
        super().__init__(stored.name, stored.stamps_ns, grid, scene=stored.scene)
        self.stored = stored
        self.times = stored.times

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moved, where the features were made of recordings that tell."""
        return self.stored.ego

    @property
    def base_from_optical(self) -> NDArray[np.float64] | None:
        """How the camera was mounted, where the features were made of recordings that tell."""
        return self.stored.base_from_optical

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        raise InputError(f"{self.name} holds features, no pictures")

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.stored.fingerprint
        yield self.stamps_ns.tobytes().hex()


def read_features(recording: Recording, indices: NDArray[np.int64]) -> Tensor:
    """Features (n, h, w, C) of frames of a feature recording, or of a part of one."""
    if isinstance(recording, PartOfRecording):
        return read_features(recording.whole, recording.indices[indices])
    assert isinstance(recording, FeatureRecording)
    return recording.stored.read(indices.tolist())


class FeatureClips(ClipDataset):
    """Clips as `ClipDataset` has them, of features.

    An item is a dict:
        frames: (T, h, w, C) features, oldest first; of a clip played backwards the newest first.
        stamps_ns: (T,) int64, rising (mirrored about the last frame when played backwards).
        source: name of the recording and the indices of the frames.
        motion: as of `ClipDataset`.

    They are neither cropped nor mirrored: the features of a mirrored picture are not the mirrored
    features.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        intervals_s: Sequence[float],
        context_frames: int,
        target_frames: int,
        augmentation: ClipAugmentation | None = None,
        seed: int = 0,
        *,
        tolerance: float = 0.25,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        """Find the clips; arguments and errors as ClipDataset's."""
        size = recordings[0].size if recordings else (1, 1)
        super().__init__(
            recordings, intervals_s, context_frames, target_frames, size, augmentation, seed,
            tolerance=tolerance, on_warning=on_warning,
        )  # fmt: skip

    def _item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        recording, row, _ = self._draw_clip(index, rng)
        frames = read_features(recording, row)
        stamps = recording.stamps_ns[row]
        start_s = (stamps[0] - recording.stamps_ns[0]) / 1e9
        return {
            "frames": frames,
            "stamps_ns": torch.from_numpy(stamps[-1] - np.abs(stamps[-1] - stamps)),
            "source": f"{recording.name} frames {', '.join(str(i) for i in row)} "
            f"(from {start_s:.2f} s on, stamp {stamps[0]})",
            **self._motion(recording, row),
        }


class TimedFeatureClips(FeatureClips, TimedClips):
    """Clips as `TimedClips` has them, of features."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        timing: ClipTiming,
        augmentation: ClipAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        """Count the clips; arguments and errors as TimedClips'."""
        size = recordings[0].size if recordings else (1, 1)
        TimedClips.__init__(self, recordings, timing, size, augmentation, seed)
