"""Frames of recordings, read ahead of the encoder by worker processes, damaged ones left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dino_foresight_ros.compare import nearest_frames
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.recordings import BadFiles, Recording, UnreadableFrame

from .batches import leave_interrupts_to_parent
from .data.augmentation import View, view_images

_PREFETCH = 4
_WHOLE = View()


class Chunk(NamedTuple):
    """Frames of one recording that are read and encoded together.

    Attributes:
        recording: which, by its place in the list.
        frames: (n,) int64 indices, rising.
    """

    recording: int
    frames: NDArray[np.int64]


class Encoded(NamedTuple):
    """What the encoder gave for a chunk.

    Attributes:
        chunk: number of the chunk.
        frames: (n,) int64 indices of the frames that could be read.
        features: (n, h, w, F) on the encoder's device.
    """

    chunk: int
    frames: NDArray[np.int64]
    features: Tensor


def pick_frames(stamps_ns: NDArray[np.int64], stride_s: float | None) -> NDArray[np.int64]:
    """Choose the frames nearest to every multiple of a stride; all when it is None.

    Raises:
        UsageError: a stride that is not positive.
    """
    if stride_s is None:
        return np.arange(len(stamps_ns), dtype=np.int64)
    if not stride_s > 0:
        raise UsageError(f"the stride is {stride_s} s; it must be positive")
    step_ns = max(1, round(stride_s * 1e9))
    instants = np.arange(stamps_ns[0], stamps_ns[-1] + 1, step_ns)
    # A nanosecond earlier: of two equally near frames the older is taken.
    return np.unique(nearest_frames(stamps_ns, instants - 1)).astype(np.int64)


def cut(recording: int, frames: NDArray[np.int64], size: int) -> list[Chunk]:
    """Cut a recording's frames into chunks of at most `size`."""
    return [Chunk(recording, frames[i : i + size]) for i in range(0, len(frames), size)]


@torch.inference_mode()
def encode_ahead(
    encoder: Encoder,
    recordings: Sequence[Recording],
    chunks: Sequence[Chunk],
    bad: BadFiles,
    workers: int = 2,
) -> Iterator[Encoded]:
    """Encode chunk by chunk, in order, while worker processes read the next ones.

    Args:
        encoder: gives the image size, too.
        recordings: what the chunks' numbers stand for.
        chunks: what to encode.
        bad: counts frames that cannot be read, which are left out.
        workers: reading processes; 0 reads in this one.

    Raises:
        ForesightError: too many frames cannot be read, or a recording fails as a whole.
    """
    images = _Images(recordings, chunks, encoder.config.image_size)
    loader: DataLoader[object] = DataLoader(
        images,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=_PREFETCH if workers else None,
        worker_init_fn=leave_interrupts_to_parent,
    )
    for number, item in enumerate(loader):
        if isinstance(item, ForesightError):
            raise item
        pixels, rows, damaged = item
        for error in damaged:
            bad.add(f"{error.file}: frame {error.index}", str(error))
        frames = chunks[number].frames[rows.numpy()]
        if len(frames):
            yield Encoded(number, frames, encoder(encoder.preprocess(pixels)))
        else:
            yield Encoded(number, frames, torch.empty(0))


class _Images(Dataset[object]):
    """Chunk number -> images (n, H, W, 3) uint8 of the encoder's size, rows read, what failed."""

    def __init__(
        self, recordings: Sequence[Recording], chunks: Sequence[Chunk], size: tuple[int, int]
    ) -> None:
        self.recordings, self.chunks, self.size = list(recordings), list(chunks), size

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> object:
        try:
            return self._read(self.chunks[number])
        except ForesightError as error:
            # Raised in a worker it would come out wrapped in a traceback.
            return error

    def _read(self, chunk: Chunk) -> tuple[Tensor, Tensor, list[UnreadableFrame]]:
        recording = self.recordings[chunk.recording]
        try:
            images = [frame.image for frame in recording.read(chunk.frames)]
            rows: Iterable[int] = range(len(images))
            damaged: list[UnreadableFrame] = []
        except UnreadableFrame:
            images, rows, damaged = self._read_singly(recording, chunk.frames)
        if not images:
            empty = torch.empty((0, *self.size, 3), dtype=torch.uint8)
            return empty, torch.empty(0, dtype=torch.int64), damaged
        pixels = view_images(images, _WHOLE, self.size)
        return pixels, torch.tensor(list(rows), dtype=torch.int64), damaged

    @staticmethod
    def _read_singly(
        recording: Recording, frames: NDArray[np.int64]
    ) -> tuple[list[NDArray[np.uint8]], list[int], list[UnreadableFrame]]:
        images, rows, damaged = [], [], []
        for row, frame in enumerate(frames):
            try:
                images.append(recording.read([int(frame)])[0].image)
                rows.append(row)
            except UnreadableFrame as error:
                damaged.append(error)
        return images, rows, damaged
