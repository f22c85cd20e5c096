"""Folders of pictures, in natural order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.folder import FolderSource
from dino_foresight_ros.recordings.images import ImageDecodeError, decode_picture
from dino_foresight_ros.recordings.recording import (
    FrameLabels,
    LabelledFrame,
    LabelSpace,
    Recording,
    UnreadableFrame,
)
from dino_foresight_ros.recordings.source import Window


class PictureRecording(Recording):
    """One picture file per frame."""

    def __init__(
        self,
        root: Path,
        pictures: Sequence[Path],
        name: str,
        stamps_ns: NDArray[np.int64],
        size: tuple[int, int],
        *,
        label_space: LabelSpace | None = None,
        labelled: Mapping[str, NDArray[np.int64]] | None = None,
        apply_orientation: bool = True,
    ) -> None:
        super().__init__(name, stamps_ns, size, label_space=label_space, labelled=labelled)
        self.root = root
        self.pictures = list(pictures)
        self._apply_orientation = apply_orientation

    def frame_file(self, index: int) -> str:
        """Return the picture's path."""
        return str(self.pictures[index])

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        path = self.pictures[index]
        try:
            image = decode_picture(path.read_bytes(), apply_orientation=self._apply_orientation)
        except ImageDecodeError as error:
            raise UnreadableFrame(str(path), index, str(error)) from error
        except OSError as error:
            raise UnreadableFrame(str(path), index, error.strerror or str(error)) from error
        found = self._labels(index, labels)
        return LabelledFrame(image, int(self.stamps_ns[index]), found)

    def _labels(self, index: int, kinds: Collection[str]) -> FrameLabels:
        return FrameLabels()

    def _fingerprint_parts(self) -> Iterable[str]:
        yield "pictures"
        yield self.stamps_ns.tobytes().hex()
        yield from files_identity(self.pictures, self.root)


def open_folder(
    path: Path, name: str, rate_hz: float | None, warn: Callable[[str], None]
) -> list[Recording]:
    """Open a folder of pictures; stamps from the names, or `rate_hz` (10) pictures a second.

    Raises:
        InputError: no pictures, or none of the first ones readable.
    """
    source = FolderSource(path, Window(), warn, rate_hz)
    stamps_ns = np.array([stamp_ns for stamp_ns, _ in source.pictures], np.int64)
    pictures = [picture for _, picture in source.pictures]
    return [PictureRecording(path, pictures, name, stamps_ns, source.size)]
