"""Video in messages, one coded picture each: H.264, H.265, VP9, AV1, decoded by PyAV.

PyAV is an optional dependency (the extra `video`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError

# A word in the name of a format or an encoder (libx264, hevc_nvenc) -> libav's decoder.
_CODECS = {
    "h264": "h264",
    "x264": "h264",
    "avc": "h264",
    "h265": "hevc",
    "x265": "hevc",
    "hevc": "hevc",
    "vp9": "vp9",
    "vp8": "vp8",
    "av1": "av1",
}
_START_CODE = b"\x00\x00\x01"
_MAX_DELAY = 16
"""So many pictures a decoder holds back at most."""


class MissingPyAV(InputError):  # noqa: N818 (what is missing, not that it failed)
    """PyAV is not installed."""


def video_codec(name: str) -> str | None:
    """The codec that the format of a message names; None for pictures that stand alone."""
    first = name.split(";")[0].strip().lower()
    return next((codec for word, codec in _CODECS.items() if word in first), None)


class VideoDecoder:
    """Decodes a stream of coded pictures from a key frame on."""

    def __init__(self, codec: str) -> None:
        """Raises InputError where PyAV is missing, or lacks the codec."""
        self.codec = codec
        self._context = self._open()
        self._number = -1
        self._waits = True

    def _open(self) -> Any:
        av = import_av(f"{self.codec} video in messages")
        try:
            context = av.CodecContext.create(self.codec, "r")
        except Exception as error:
            raise InputError(f"this PyAV cannot decode {self.codec} video") from error
        context.thread_type = "SLICE"  # threads over frames would hold pictures back
        return context

    def feed(self, data: bytes | NDArray[np.uint8], number: int) -> list[tuple[int, Any]]:
        """Take the next message; return (number of its message, picture) of what is ready.

        Numbers rise. Nothing is ready before the first key frame, nor of what is damaged.
        """
        import av

        content = np.frombuffer(data, np.uint8).tobytes()
        if self._waits:
            is_key = is_key_frame(self.codec, content)
            if is_key is False:
                return []
            self._waits = is_key is None  # then the first picture tells
        packet = av.Packet(content)
        packet.pts = packet.dts = number
        self._number = number
        return self._decode(packet)

    def flush(self) -> list[tuple[int, Any]]:
        """Return what the decoder holds back at the end of the stream, and begin anew."""
        ready = self._decode(None)
        self._context, self._waits = self._open(), True
        return ready

    def _decode(self, packet: Any) -> list[tuple[int, Any]]:
        import av

        try:
            frames = self._context.decode(packet)
        except (av.error.FFmpegError, ValueError):
            self._waits = True
            return []
        ready = []
        for frame in frames:
            if frame.key_frame:
                self._waits = False
            if not self._waits and not frame.is_corrupt:
                ready.append((int(frame.pts if frame.pts is not None else self._number), frame))
        return ready


def picture_of(frame: Any) -> NDArray[np.uint8]:
    """Convert a decoded picture to (H, W, 3) uint8 RGB."""
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def import_av(what: str) -> Any:
    """Import PyAV, or raise InputError naming what needs it."""
    try:
        import av
    except ImportError as error:
        raise MissingPyAV(
            f"{what} is decoded by PyAV, which is not installed: pip install av; or republish it "
            "as raw or JPEG images"
        ) from error
    av.logging.set_level(av.logging.PANIC)
    return av


def is_key_frame(codec: str, data: bytes) -> bool | None:
    """Whether decoding can begin with a message; None where only the decoder knows."""
    if codec in ("h264", "hevc"):
        kinds = set(_nal_types(codec, data))
        return bool(kinds & ({5, 7} if codec == "h264" else {*range(16, 24), 32, 33}))
    if codec == "vp9" and data:
        return data[0] >> 6 == 2 and not data[0] & 0b1100  # shown anew is no key frame either
    if codec == "vp8" and data:
        return not data[0] & 1
    return None


def _nal_types(codec: str, data: bytes) -> Iterator[int]:
    """Types of the NAL units of an Annex B stream, as far as the first coded picture."""
    at = data.find(_START_CODE)
    while 0 <= at < len(data) - 3:
        byte = data[at + 3]
        kind = byte & 31 if codec == "h264" else byte >> 1 & 63
        yield kind
        if kind in ((1, 5) if codec == "h264" else range(32)):
            return
        at = data.find(_START_CODE, at + 3)


class VideoMessages:
    """Decodes messages of a video that lie in a recording, in any order.

    Reading on costs one decoding; a jump costs those since the key frame before.
    """

    def __init__(self, codec: str, read: Any, count: int) -> None:
        """`read` returns the coded picture of message number 0 to `count` - 1."""
        self._codec, self._count = codec, count
        self._read: partial[bytes] | Any = read
        self._decoder = VideoDecoder(codec)
        self._next = 0
        self._ready: dict[int, Any] = {}

    def picture(self, number: int) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of a message; None where there is none, as before a key frame."""
        if number not in self._ready and not 0 <= number - self._next <= _MAX_DELAY:
            self._begin(number)
        while number not in self._ready and self._next < min(self._count, number + _MAX_DELAY):
            found = self._decoder.feed(self._read(self._next), self._next)
            self._next += 1
            found += self._decoder.flush() if self._next == self._count else []
            self._ready |= dict(found)
        for old in sorted(self._ready)[: -2 * _MAX_DELAY]:
            del self._ready[old]
        frame = self._ready.get(number)
        return None if frame is None else picture_of(frame)

    def _begin(self, number: int) -> None:
        """Stand at the key frame at a message or before it."""
        self._ready.clear()
        self._decoder = VideoDecoder(self._codec)
        self._next = number
        while self._next > 0 and not is_key_frame(self._codec, self._read(self._next)):
            self._next -= 1
