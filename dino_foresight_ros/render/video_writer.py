"""An MP4, written frame by frame as pictures come."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render.colors import Picture

# Longest stretch of time without a forecast that the video shows as a standing picture.
_MAX_STILL_S = 2.0
_FFMPEG_PATIENCE_S = 60.0


class _Encoder(Protocol):
    codec: str

    def write(self, picture: Picture) -> None: ...
    def close(self) -> None: ...


class _OpenCvEncoder:
    """MPEG-4 part 2, which OpenCV's wheel encodes: for desktop players, not for browsers."""

    codec = "mp4v"

    def __init__(self, path: Path, rate_hz: float, size: tuple[int, int]) -> None:
        fourcc = cv2.VideoWriter.fourcc(*self.codec)
        self._writer = cv2.VideoWriter(str(path), fourcc, rate_hz, (size[1], size[0]))
        if not self._writer.isOpened():
            raise ForesightError(f"OpenCV cannot write {path}: its build lacks the mp4v encoder")

    def write(self, picture: Picture) -> None:
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> None:
        self._writer.release()


class _FfmpegEncoder:
    """H.264, which browsers play too, by the ffmpeg program where there is one."""

    codec = "h264"

    def __init__(self, program: str, path: Path, rate_hz: float, size: tuple[int, int]) -> None:
        raw = f"-f rawvideo -pix_fmt rgb24 -s {size[1]}x{size[0]} -r {rate_hz:g} -i pipe:0"
        encode = "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -movflags +faststart -y"
        self._process = subprocess.Popen(
            [program, "-v", "error", *raw.split(), *encode.split(), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def write(self, picture: Picture) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).data)
        except OSError as error:
            raise ForesightError(f"ffmpeg stopped while writing the video: {error}") from error

    def close(self) -> None:
        # Waits for the end of the stream, which closing its input tells ffmpeg.
        try:
            self._process.communicate(timeout=_FFMPEG_PATIENCE_S)
        except (subprocess.TimeoutExpired, OSError) as error:
            self._process.kill()
            self._process.wait()
            raise ForesightError("ffmpeg did not finish the video") from error
        if self._process.returncode:
            raise ForesightError(f"ffmpeg failed with exit code {self._process.returncode}")


def h264_program() -> str | None:
    """Path of an ffmpeg that encodes H.264, None where there is none."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    try:
        listing = subprocess.run(
            [program, "-hide_banner", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if b" libx264 " in listing else None


class TimedVideo:
    """A video with a constant rate, whose pictures stand as long as their stamps say."""

    def __init__(self, path: Path, rate_hz: float, size: tuple[int, int]) -> None:
        """Open it.

        Args:
            path: file to write, ending in .mp4.
            rate_hz: pictures per second.
            size: (height, width) of the pictures, both even.
        """
        self._rate_hz = rate_hz
        program = h264_program()
        self._encoder: _Encoder = (
            _OpenCvEncoder(path, rate_hz, size)
            if program is None
            else _FfmpegEncoder(program, path, rate_hz, size)
        )
        self.frame_count = 0
        self._last: tuple[int, Picture] | None = None
        self._debt = 0.0

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self._encoder.codec

    def show(self, picture: Picture, stamp_ns: int) -> None:
        """Show a picture from `stamp_ns` on, the one before it until then."""
        if self._last is not None:
            last_ns, last = self._last
            gap_s = min(max((stamp_ns - last_ns) / 1e9, 0.0), _MAX_STILL_S)
            # What rounding leaves over is carried on, so that the video keeps time.
            self._debt += gap_s * self._rate_hz
            repeats = max(1, round(self._debt))
            self._debt -= repeats
            for _ in range(repeats):
                self._write(last)
        self._last = (stamp_ns, picture)

    def close(self) -> None:
        """Write the last picture and finish the file."""
        if self._last is not None:
            self._write(self._last[1])
            self._last = None
        self._encoder.close()

    def _write(self, picture: Picture) -> None:
        self._encoder.write(picture)
        self.frame_count += 1
