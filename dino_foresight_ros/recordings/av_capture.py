"""Video files through PyAV, as cv2.VideoCapture does it: for codecs that OpenCV's build lacks.

The wheels of OpenCV have no decoder for AV1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.recordings.video_messages import import_av


class AvCapture:
    """The part of cv2.VideoCapture that `video` uses: frames in order, their times, seeking.

    Times are milliseconds from the stream's beginning.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError where PyAV is missing, OSError or ValueError for no video."""
        av = import_av(f"{path.name}")
        try:
            self._container = av.open(str(path.absolute()))
        except av.error.FFmpegError as error:
            raise ValueError(str(error)) from error
        if not self._container.streams.video:
            self._container.close()
            raise ValueError("no video in it")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._start = self._stream.start_time or 0
        self._base_s = float(self._stream.time_base)
        self._errors = (av.error.FFmpegError, ValueError)
        self._frames: Iterator[Any] = self._decode()
        self._frame: Any = None

    def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
        """A capture that is there is open."""
        return True

    def release(self) -> None:
        """Close the file."""
        self._container.close()

    def grab(self) -> bool:
        """Decode the next frame."""
        self._frame = next(self._frames, None)
        return self._frame is not None

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        """Convert the frame that was grabbed to (H, W, 3) BGR."""
        return True, np.asarray(self._frame.to_ndarray(format="bgr24"), np.uint8)

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        """Grab and retrieve."""
        return self.retrieve() if self.grab() else (False, None)

    def get(self, what: int) -> float:
        """Frame rate, number of frames (0 when unknown), or time of the frame that was grabbed."""
        if what == cv2.CAP_PROP_FPS:
            return float(self._stream.average_rate or self._stream.guessed_rate or 0)
        if what == cv2.CAP_PROP_FRAME_COUNT:
            return float(self._stream.frames)
        if what == cv2.CAP_PROP_POS_MSEC and self._frame is not None:
            return self._time_ms(self._frame.pts)
        return 0.0

    def set(self, what: int, value: float) -> bool:
        """Seek to before a frame's number at the nominal rate."""
        if what != cv2.CAP_PROP_POS_FRAMES:
            return False
        rate_hz = self.get(cv2.CAP_PROP_FPS)
        ticks = round(value / rate_hz / self._base_s) if rate_hz else 0
        with suppress(*self._errors):
            self._container.seek(self._start + ticks, stream=self._stream, backward=True)
        self._frames = self._decode()
        return True

    def packet_times_ms(self) -> list[float]:
        """Times of all packets, in the order of the file."""
        packets = self._container.demux(self._stream)
        return [self._time_ms(packet.pts) for packet in packets if packet.pts is not None]

    def _decode(self) -> Iterator[Any]:
        with suppress(*self._errors):
            yield from self._container.decode(self._stream)

    def _time_ms(self, pts: int | None) -> float:
        return ((pts or 0) - self._start) * self._base_s * 1000.0
