"""Video files, read at any place.

OpenCV can seek, but lands beside the wanted frame in many files. So the presentation times of all
packets are listed first, without decoding (a few milliseconds a minute of video), and after a seek
each frame is told by its own time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.media.opencv import cv2
from dino_foresight_ros.media.opening import open_source

from .files import files_identity
from .recording import LabelledFrame, Recording, UnreadableFrame

_CACHE_BYTES = 64 << 20


class VideoRecording(Recording):
    """Frames of a video file; stamps are presentation times from its beginning."""

    def __init__(self, path: Path, name: str, stamps_ns: NDArray[np.int64], size: tuple[int, int]):
        super().__init__(name, stamps_ns, size)
        self.path = path
        self._reader: _VideoReader | None = None
        self._pid = 0

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": None}

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        if self._reader is None or self._pid != os.getpid():
            self._reader, self._pid = _VideoReader(self.path), os.getpid()
        image = self._reader.read(index)
        if image is None:
            raise UnreadableFrame(str(self.path), index, "it cannot be decoded")
        return LabelledFrame(image, int(self.stamps_ns[index]))

    def frame_file(self, index: int) -> str:
        """Return the video's path."""
        return str(self.path)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield "video"
        yield from files_identity([self.path], self.path.parent)


class _VideoReader:
    """Decodes frames in order, keeping the latest ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        self._next = 0
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def read(self, index: int) -> NDArray[np.uint8] | None:
        if index in self._kept:
            return self._kept[index]
        if index < self._next:
            self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
            self._next = 0
        while self._next <= index:
            if not self._capture.grab():
                return None
            self._next += 1
        found, image = self._capture.retrieve()
        if not found:
            return None
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        self._kept[index] = image
        while len(self._kept) * image.nbytes > _CACHE_BYTES:
            self._kept.popitem(last=False)
        return image


def open_video(path: Path, name: str) -> list[Recording]:
    """Open a video file."""
    source = open_source(path)
    stamps = np.array([frame.stamp_ns for frame in source], np.int64)
    return [VideoRecording(path, name, stamps, source.size)]
