"""Video files, read in order or at any place, with their presentation times.

OpenCV decodes them, or PyAV where OpenCV lacks the decoder.

OpenCV can seek, but in many files it lands beside the wanted frame. So the presentation times of
all packets are listed first, without decoding, and after a seek each frame is told by its own time.
Reading on from frame to frame costs no seek; jumping costs the frames since the last key frame.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.av_capture import AvCapture
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.recordings.recording import (
    Frame,
    Recording,
    UnreadableFrame,
    Warn,
    Window,
)
from dino_foresight_ros.recordings.video_container import describe_cut, is_sound, is_text
from dino_foresight_ros.recordings.video_messages import MissingPyAV
from dino_foresight_ros.stamps import NS_PER_S

FALLBACK_RATE_HZ = 25.0
_PROBE_FRAMES = 12
CACHE_BYTES = 64 << 20
_NS_PER_MS = 1_000_000
# A seek is tried when the wanted frame is further ahead than this; decoding on is as quick.
_SEEK_BEYOND = 24
_BACK_OFF = (0, 32, 256)
Capture = cv2.VideoCapture | AvCapture
# Decoders of the parent process. Closing one waits for its threads, which a fork does not copy.
_inherited: list[object] = []


class VideoRecording(Recording):
    """Frames of a video file; stamps are presentation times from its beginning.

    Some videos carry no usable presentation times (raw streams, damaged files); there the stamps
    are index / frame rate, and a warning says so.
    """

    kind = "video"

    def __init__(
        self,
        path: Path,
        name: str = "",
        window: Window | None = None,
        on_warning: Warn | None = None,
    ) -> None:
        """Look at the head of the file.

        Raises:
            InputError: no video, or none that can be decoded.
        """
        self.path = path
        if is_text(path):
            raise InputError(f"{path} is a text file, not a video")
        if is_sound(path):
            raise InputError(f"{path} holds only sound, no video")
        self._cut = describe_cut(path)
        self._by_pyav = False
        try:
            image, times_ms = self._probe()
        except InputError as error:
            image, times_ms = self._probe_by_pyav(error)
        self._has_times = _are_sane(times_ms, self._rate_hz)
        size = (image.shape[0], image.shape[1])
        super().__init__(name or path.name, None, size, window=window, on_warning=on_warning)
        self.frame_rate_hz = self._rate_hz
        self.frame_count = self._count_in_window()
        self._can_seek = False
        self._reader: _VideoReader | None = None

    def _probe(self) -> tuple[NDArray[np.uint8], list[float]]:
        """Decode the first frame, and list the first times in milliseconds."""
        with self._capture() as capture:
            self._rate_hz = _sane_rate(capture.get(cv2.CAP_PROP_FPS))
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self._total = int(count) if 0 < count < 2**31 else None
            found, image = capture.read()
            if not found or image is None:
                raise InputError(f"{self.path}: no frame {_of_codec(capture)}")
            times_ms = [capture.get(cv2.CAP_PROP_POS_MSEC)]
            while len(times_ms) < _PROBE_FRAMES and capture.grab():
                times_ms.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        return image, times_ms

    def _probe_by_pyav(self, error: InputError) -> tuple[NDArray[np.uint8], list[float]]:
        """Try PyAV, which has decoders that OpenCV lacks; raise the error where it fails."""
        if self._cut:
            raise error
        self._by_pyav = True
        try:
            return self._probe()
        except MissingPyAV as missing:
            hint = f"{error}; install PyAV, which has more decoders (pip install av), or convert it"
            raise InputError(
                hint if " video can be decoded" in str(error) else str(error)
            ) from missing
        except (InputError, OSError, ValueError):
            raise error from None

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_reader": None}

    def frame_file(self, index: int) -> str:
        """Return the video's path."""
        return str(self.path)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield "video"
        yield from files_identity([self.path], self.path.parent)

    @contextmanager
    def _capture(self) -> Iterator[Capture]:
        capture = _open_capture(self.path, self._by_pyav)
        try:
            if not capture.isOpened():
                if self._cut:
                    raise InputError(f"{self.path} is cut off and cannot be read: {self._cut}")
                raise InputError(f"{self.path} is not a video that OpenCV can read")
            yield capture
        finally:
            capture.release()

    def _count_in_window(self) -> int | None:
        if self._total is None:
            return None
        duration_ns = round(self._total / self._rate_hz * NS_PER_S)
        wanted_ns = min(self.window.end_ns, duration_ns) - self.window.start_ns
        return max(0, round(wanted_ns / NS_PER_S * self._rate_hz))

    def _find_stamps(self) -> NDArray[np.int64]:
        times_ns = None if self._cut else _packet_times_ns(self.path, self._by_pyav)
        if times_ns is not None and self._are_decoded_times(times_ns):
            self._can_seek = True
            return times_ns
        # Of a damaged file, or one without usable times, only decoding all of it tells the frames.
        return np.array([frame.stamp_ns for frame in self._decode(Window())], np.int64)

    def _are_decoded_times(self, times_ns: NDArray[np.int64]) -> bool:
        """Tell whether the first frames have the first times, and about as many are promised."""
        expected = self._total
        if expected is not None and abs(expected - len(times_ns)) > max(2, 0.02 * expected):
            return False
        with self._capture() as capture:
            return all(
                capture.grab() and round(capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS) == time_ns
                for time_ns in times_ns[:_PROBE_FRAMES]
            )

    def _in_order(self) -> Iterator[Frame]:
        return self._decode(self.window)

    def _decode(self, window: Window) -> Iterator[Frame]:
        if not self._has_times:
            self.warn(
                f"{self.name} has no usable presentation times; "
                f"frames are taken as {self._rate_hz:g} per second"
            )
        step_ns = round(NS_PER_S / self._rate_hz)
        stamp_ns, index = -step_ns, 0
        with self._capture() as capture:
            while capture.grab():
                stamp_ns = self._stamp(capture, index, stamp_ns, step_ns)
                if stamp_ns >= window.end_ns:
                    return
                if stamp_ns >= window.start_ns:
                    found, image = capture.retrieve()
                    if found:
                        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                        yield Frame(stamp_ns, image=rgb, index=index)
                index += 1
        self._check_complete(index)

    def _stamp(self, capture: Capture, index: int, previous_ns: int, step_ns: int) -> int:
        if not self._has_times:
            return round(index * NS_PER_S / self._rate_hz)
        stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if stamp_ns > previous_ns:
            return stamp_ns
        self.warn(f"{self.name}: presentation times jump at frame {index}; counted on from there")
        return previous_ns + step_ns

    def _check_complete(self, delivered: int) -> None:
        """Notice an early end. A count that the container only estimates may be a little off."""
        total = self._total
        missing = 0 if total is None else total - delivered
        if self._cut or (total is not None and missing > max(2, 0.02 * total)):
            self.truncated = True
            of = "" if total is None else f" of {total}"
            self.warn(f"{self.name} is truncated: {delivered}{of} frames could be decoded")

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        # A forked process must not share the decoder, nor the place in the file.
        if self._reader is None or self._reader.pid != os.getpid():
            _inherited.append(self._reader)
            opened = partial(_reopen, self.path, self._by_pyav)
            self._reader = _VideoReader(opened, self.stamps_ns, self._can_seek)
        image = self._reader.read(index)
        if image is None:
            raise UnreadableFrame(str(self.path), index, "it cannot be decoded")
        return Frame(int(self.stamps_ns[index]), image=image, index=index)


class _VideoReader:
    """Decodes frames in order and keeps the latest ones, within 64 MB."""

    def __init__(
        self, opened: Callable[[], Capture], stamps_ns: NDArray[np.int64], can_seek: bool
    ) -> None:
        self.pid = os.getpid()
        self._open = opened
        self._stamps_ns = stamps_ns
        self._can_seek = can_seek
        self._capture = opened()
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
            while len(self._kept) > 1 and len(self._kept) * image.nbytes > CACHE_BYTES:
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
        self._capture = self._open()
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


def _sane_rate(rate_hz: float) -> float:
    return rate_hz if 0.01 < rate_hz < 1000.0 else FALLBACK_RATE_HZ


def _are_sane(times_ms: list[float], rate_hz: float) -> bool:
    """Accept times that start near 0, increase, and pass about as fast as the frame rate says."""
    if len(times_ms) < 2:
        return 0.0 <= times_ms[0] < 1000.0
    steps = [after - before for before, after in pairwise(times_ms)]
    mean_ms = sum(steps) / len(steps)
    expected_ms = 1000.0 / rate_hz
    return min(steps) > 0.0 and times_ms[0] >= 0.0 and 0.1 < mean_ms / expected_ms < 10.0


def _backend() -> int:
    """Prefer FFmpeg: the default order would also take a picture or a pattern for a video."""
    available = cv2.videoio_registry.getStreamBackends()
    return cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in available else cv2.CAP_ANY


def _open_capture(path: Path, by_pyav: bool) -> Capture:
    if by_pyav:
        return AvCapture(path)
    # Absolute: libav takes what stands before a colon, as in times, for a protocol.
    return cv2.VideoCapture(str(path.absolute()), _backend())


def _of_codec(capture: Capture) -> str:
    """Say what could not be decoded; the codec where OpenCV knows it."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True)
    name = code.decode("ascii", "ignore").strip("\0 ")
    if not name.isalnum():
        return "can be decoded; is it a video?"
    return f"of its {'AV1' if name.upper() == 'AV01' else name} video can be decoded"


def _packet_times_ns(path: Path, by_pyav: bool) -> NDArray[np.int64] | None:
    """List the presentation times of all packets, rising; None where they are not usable."""
    times: list[int] = []
    if by_pyav:
        times = [round(time_ms * _NS_PER_MS) for time_ms in AvCapture(path).packet_times_ms()]
    else:
        name, options = str(path.absolute()), [cv2.CAP_PROP_FORMAT, -1]
        capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, options)
        while capture.grab():
            times.append(round(capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS))
    found = np.sort(np.array(times, np.int64))
    return found if found.size and (np.diff(found) > _NS_PER_MS).all() else None


def _reopen(path: Path, by_pyav: bool) -> Capture:
    capture = _open_capture(path, by_pyav)
    if not capture.isOpened():
        raise InputError(f"{path} can no longer be read as a video")
    return capture
