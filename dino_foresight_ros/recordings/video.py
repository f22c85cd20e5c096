"""Video files through OpenCV, with their presentation times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.containers import describe_cut, is_text
from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.recordings.source import NS_PER_S, Frame, Source, Window

FALLBACK_RATE_HZ = 25.0
_PROBE_FRAMES = 12


class VideoSource(Source):
    """Frames of a video file; `stamp_ns` is the presentation time from the file's beginning.

    Some videos carry no usable presentation times (raw streams, damaged
    files); there the stamps are index / frame rate, and a warning says so.
    """

    kind = "video"

    def __init__(
        self, path: Path, window: Window, on_warning: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(path.name, window, on_warning)
        self._path = path
        if is_text(path):
            raise InputError(f"{path} is a text file, not a video")
        self._cut = describe_cut(path)
        with self._capture() as capture:
            self._rate_hz = _sane_rate(capture.get(cv2.CAP_PROP_FPS))
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self._total = int(count) if 0 < count < 2**31 else None
            found, image = capture.read()
            if not found:
                raise InputError(f"{path}: no frame can be decoded; is it a video?")
            self.size = (image.shape[0], image.shape[1])
            times_ms = [capture.get(cv2.CAP_PROP_POS_MSEC)]
            while len(times_ms) < _PROBE_FRAMES and capture.grab():
                times_ms.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        self._has_times = _are_sane(times_ms, self._rate_hz)
        self.frame_rate_hz = self._rate_hz
        self.frame_count = self._count_in_window()

    @contextmanager
    def _capture(self) -> Iterator[cv2.VideoCapture]:
        capture = cv2.VideoCapture(str(self._path), _backend())
        try:
            if not capture.isOpened():
                if self._cut:
                    raise InputError(f"{self._path} is cut off and cannot be read: {self._cut}")
                raise InputError(f"{self._path} is not a video that OpenCV can read")
            yield capture
        finally:
            capture.release()

    def _count_in_window(self) -> int | None:
        if self._total is None:
            return None
        duration_ns = round(self._total / self._rate_hz * NS_PER_S)
        wanted_ns = min(self.window.end_ns, duration_ns) - self.window.start_ns
        return max(0, round(wanted_ns / NS_PER_S * self._rate_hz))

    def _frames(self) -> Iterator[Frame]:
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
                if stamp_ns >= self.window.end_ns:
                    return
                if stamp_ns >= self.window.start_ns:
                    found, image = capture.retrieve()
                    if found:
                        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
                        yield Frame(rgb, stamp_ns, index)
                index += 1
        self._check_complete(index)

    def _stamp(self, capture: cv2.VideoCapture, index: int, previous_ns: int, step_ns: int) -> int:
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
