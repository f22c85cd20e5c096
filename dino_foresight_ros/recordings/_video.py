"""Video files, read at any place.

OpenCV can seek, but in many files it lands beside the wanted frame. So the presentation times of
all packets are listed first, without decoding, and after a seek each frame is told by its own time.
Reading on from frame to frame costs no seek; jumping costs the frames since the last key frame.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.containers import describe_cut
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.recordings.recording import LabelledFrame, Recording, UnreadableFrame
from dino_foresight_ros.recordings.source import Window
from dino_foresight_ros.recordings.video import VideoSource

_CACHE_BYTES = 64 << 20
_NS_PER_MS = 1_000_000
# A seek is tried when the wanted frame is further ahead than this; decoding on is as quick.
_SEEK_BEYOND = 24
_BACK_OFF = (0, 32, 256)
_PROBE_FRAMES = 12
# Decoders of the parent process. Closing one waits for its threads, which a fork does not copy.
_inherited: list[object] = []


class VideoRecording(Recording):
    """Frames of a video file; stamps are presentation times from its beginning."""

    def __init__(
        self,
        path: Path,
        name: str,
        stamps_ns: NDArray[np.int64],
        size: tuple[int, int],
        can_seek: bool,
    ) -> None:
        super().__init__(name, stamps_ns, size)
        self.path = path
        self._can_seek = can_seek
        self._reader: _VideoReader | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": None}

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        # A forked process must not share the decoder, nor the place in the file.
        if self._reader is None or self._reader.pid != os.getpid():
            _inherited.append(self._reader)
            self._reader = _VideoReader(self.path, self.stamps_ns, self._can_seek)
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
    """Decodes frames in order and keeps the latest ones, within 64 MB."""

    def __init__(self, path: Path, stamps_ns: NDArray[np.int64], can_seek: bool) -> None:
        self.pid = os.getpid()
        self._path = path
        self._stamps_ns = stamps_ns
        self._can_seek = can_seek
        self._capture = _open(path)
        self._next = 0
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def read(self, index: int) -> NDArray[np.uint8] | None:
        """Return frame `index` as (H, W, 3) uint8 RGB, or None when it cannot be decoded."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        ahead = index - self._next
        if ahead < 0 or (ahead > _SEEK_BEYOND and self._can_seek):
            image = self._jump(index)
        else:
            image = self._decode_on(index)
        if image is not None:
            self._kept[index] = image
            while len(self._kept) > 1 and len(self._kept) * image.nbytes > _CACHE_BYTES:
                self._kept.popitem(last=False)
        return image

    def _jump(self, index: int) -> NDArray[np.uint8] | None:
        """Seek to before the frame, further back where that fails, at last to the beginning."""
        # OpenCV takes a frame number for a time at the nominal rate, whatever the frames' times.
        number = int(self._stamps_ns[index] * 1e-9 * self._capture.get(cv2.CAP_PROP_FPS))
        for back in _BACK_OFF if self._can_seek else ():
            if number - back <= 0:
                break
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number - back)
            if self._capture.grab():
                here = self._index_here()
                if here is not None and here <= index:
                    self._next = here + 1
                    return self._decode_on(index)
        self._capture = _open(self._path)
        self._next = 0
        return self._decode_on(index)

    def _decode_on(self, index: int) -> NDArray[np.uint8] | None:
        """Decode from where the file stands up to the frame; the last one grabbed may be it."""
        while self._next <= index:
            if not self._capture.grab():
                # A damaged packet or the end; the next jump starts over.
                self._next = len(self._stamps_ns)
                return None
            here = self._index_here() if self._can_seek else self._next
            if here is None or here < self._next:
                here = self._next
            self._next = here + 1
        if self._next != index + 1:
            return None
        found, image = self._capture.retrieve()
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if found else None

    def _index_here(self) -> int | None:
        """Tell by its time which frame was grabbed last; None for a time that no frame has."""
        time_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS)
        after = int(np.searchsorted(self._stamps_ns, time_ns))
        for place in (after, after - 1):
            near = 0 <= place < len(self._stamps_ns)
            if near and abs(int(self._stamps_ns[place]) - time_ns) <= _NS_PER_MS // 2:
                return place
        return None


def open_video(path: Path, name: str, on_warning: Callable[[str], None] | None) -> VideoRecording:
    """Open a video file.

    Raises:
        InputError: no video, or none that can be decoded.
    """
    source = VideoSource(path, Window(), on_warning)
    times_ns = None if describe_cut(path) else _packet_times_ns(path)
    if times_ns is not None and _are_decoded_times(path, times_ns, source.frame_count):
        return VideoRecording(path, name, times_ns, source.size, True)
    # Of a damaged file, or one without usable times, only decoding all of it tells the frames.
    stamps_ns = np.array([frame.stamp_ns for frame in source], np.int64)
    return VideoRecording(path, name, stamps_ns, source.size, False)


def _packet_times_ns(path: Path) -> NDArray[np.int64] | None:
    """List the presentation times of all packets, rising; None where they are not usable."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    times: list[int] = []
    while capture.grab():
        times.append(round(capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS))
    found = np.sort(np.array(times, np.int64))
    return found if found.size and (np.diff(found) > _NS_PER_MS).all() else None


def _are_decoded_times(path: Path, times_ns: NDArray[np.int64], expected: int | None) -> bool:
    """Tell whether the first frames have the first times, and about as many are promised."""
    if expected is not None and abs(expected - len(times_ns)) > max(2, 0.02 * expected):
        return False
    capture = _open(path)
    for time_ns in times_ns[:_PROBE_FRAMES]:
        if not capture.grab():
            return False
        if round(capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS) != time_ns:
            return False
    return True


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{path} can no longer be read as a video")
    return capture
