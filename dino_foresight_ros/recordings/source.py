"""What every input gives: frames with their time stamps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.camera import CameraModel

SourceKind = Literal["video", "folder", "bag"]
NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Frame:
    """One picture: `image` (H, W, 3) uint8 RGB, `stamp_ns`, and its `index` in the source.

    `frame_id` is the recorded optical frame (bags only).
    """

    image: NDArray[np.uint8]
    stamp_ns: int
    index: int
    frame_id: str = ""


@dataclass(frozen=True)
class Window:
    """Part of a source: seconds from its beginning, `start_s` included, `end_s` not."""

    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and self.start_s >= 0.0):
            raise UsageError(f"start {self.start_s:g} s: give a time from 0 on")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise UsageError(f"end {self.end_s:g} s is not after start {self.start_s:g} s")

    @property
    def start_ns(self) -> int:
        """Start after the source's beginning, in nanoseconds."""
        return round(self.start_s * NS_PER_S)

    @property
    def end_ns(self) -> int:
        """End after the source's beginning, in nanoseconds; beyond any source when open."""
        if self.end_s is None or math.isinf(self.end_s):
            return 2**62
        return round(self.end_s * NS_PER_S)


class Source(ABC):
    """Frames of a video, a folder or a bag; iterate as often as wanted, each time from the start.

    Attributes: `name`; `kind`; `frame_count` (expected in the window, None when unknown; corrupt
    pictures count); `frame_rate_hz` (nominal, None when unknown); `size` (height, width) of the
    first frame; `camera_info` or None; `has_absolute_stamps` (True: stamps are Unix time as
    recorded; False: presentation time from 0, add an origin); after an iteration `truncated`
    (the file ends before its content does) and `warnings` (one line each).
    """

    kind: SourceKind

    def __init__(self, name: str, window: Window, on_warning: Callable[[str], None] | None) -> None:
        self.name = name
        self.window = window
        self.frame_count: int | None = None
        self.frame_rate_hz: float | None = None
        self.size: tuple[int, int] = (0, 0)
        self.camera_info: CameraModel | None = None
        self.has_absolute_stamps = False
        self.truncated = False
        self.warnings: list[str] = []
        self._on_warning = on_warning

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Yield the frames of the window, from its start."""

    def __iter__(self) -> Iterator[Frame]:
        empty = True
        for frame in self._frames():
            empty = False
            yield frame
        if empty:
            end = "its end" if self.window.end_s is None else f"{self.window.end_s:g} s"
            raise InputError(f"{self.name}: no frame from {self.window.start_s:g} s to {end}")

    def warn(self, text: str) -> None:
        """Keep a line for the user and pass it on, each only once."""
        if text not in self.warnings:
            self.warnings.append(text)
            if self._on_warning is not None:
                self._on_warning(text)

    def close(self) -> None:  # noqa: B027 (only bags hold something open)
        """Release what the source holds open."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
