"""A kind of data: a .npy file of (N, H, W, 3) uint8 RGB pictures, `array:FILE?rate=10`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np

from dino_foresight_ros.recordings import Frame, Recording
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.spec import Spec


class ArrayRecording(Recording):
    """Pictures of one array, a fixed time apart."""

    kind = "array"

    def __init__(self, path: Path, rate_hz: float) -> None:
        self.path = path
        count, height, width, _ = np.load(path, mmap_mode="r").shape
        stamps_ns = np.round(np.arange(count) * 1e9 / rate_hz).astype(np.int64)
        super().__init__(path.stem, stamps_ns, (height, width))

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        image = np.array(np.load(self.path, mmap_mode="r")[index])
        return Frame(int(self.stamps_ns[index]), image=image, index=index)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield from files_identity([self.path], self.path.parent)


def open_arrays(spec: Spec, warn: Callable[[str], None]) -> list[Recording]:
    """The recording of a spec."""
    rate_hz = spec.number("rate", 10.0)
    assert rate_hz is not None
    return [ArrayRecording(spec.path, rate_hz)]
