"""Folders of pictures in natural order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.images import IMAGE_SUFFIXES, ImageDecodeError, decode_picture
from dino_foresight_ros.recordings.source import NS_PER_S, Frame, Source, Window

DEFAULT_FOLDER_RATE_HZ = 10.0
MAX_BAD_IMAGES = 20
_LISTED = 5
_YEAR_2000_NS = 946_684_800 * NS_PER_S
_YEAR_2100_NS = 4_102_444_800 * NS_PER_S


class FolderSource(Source):
    """Pictures of a folder in natural order (img2 before img10).

    Stamps are, in this order: index / `frame_rate_hz` when that is given; the time in the file
    names when all of them end in one (Unix time as 19 digits of nanoseconds, 16 of microseconds,
    13 of milliseconds, or seconds with a decimal point) between 2000 and 2100 that increases in
    natural order; index / 10 Hz, with a warning.
    """

    kind = "folder"

    def __init__(
        self,
        path: Path,
        window: Window,
        on_warning: Callable[[str], None] | None = None,
        frame_rate_hz: float | None = None,
    ) -> None:
        super().__init__(path.name or str(path), window, on_warning)
        if frame_rate_hz is not None and not 0.0 < frame_rate_hz < 1e6:
            raise UsageError(f"frame rate {frame_rate_hz:g} Hz: give a positive number")
        self._path = path
        paths = _pictures(path)
        stamps = None if frame_rate_hz else stamps_from_names([p.stem for p in paths])
        self.has_absolute_stamps = stamps is not None
        if stamps is None:
            rate_hz = frame_rate_hz or DEFAULT_FOLDER_RATE_HZ
            stamps = [round(i * NS_PER_S / rate_hz) for i in range(len(paths))]
            if frame_rate_hz is None:
                self.warn(
                    f"{self.name}: no time stamps in the file names; taken as {rate_hz:g} pictures "
                    "per second (give the frame rate to change that)"
                )
            self.frame_rate_hz = rate_hz
        elif len(stamps) > 1:
            self.frame_rate_hz = NS_PER_S / float(np.median(np.diff(stamps)))
        self._bad: set[Path] = set()
        self._entries = [
            (index, stamp, picture)
            for index, (stamp, picture) in enumerate(zip(stamps, paths, strict=True))
            if window.start_ns <= stamp - stamps[0] < window.end_ns
        ]
        self.frame_count = len(self._entries)
        self.size = self._first_size()

    @property
    def pictures(self) -> list[tuple[int, Path]]:
        """Stamps and files of the window's pictures, damaged ones among them."""
        return [(stamp_ns, picture) for _, stamp_ns, picture in self._entries]

    def _first_size(self) -> tuple[int, int]:
        """Decode up to the first good picture; a folder of bad ones is an error."""
        for _, _, path in self._entries:
            frame = self._decode(path)
            if frame is not None:
                return (frame.shape[0], frame.shape[1])
        if self._entries:
            raise InputError(f"{self._path}: none of its {len(self._entries)} pictures is readable")
        return (0, 0)

    def _frames(self) -> Iterator[Frame]:
        for index, stamp_ns, path in self._entries:
            image = self._decode(path)
            if image is None:
                continue
            if image.shape[:2] != self.size:
                self.warn(
                    f"{self.name}: picture sizes differ; {path.name} is {image.shape[1]}x"
                    f"{image.shape[0]}, the first one {self.size[1]}x{self.size[0]}"
                )
            yield Frame(image, stamp_ns, index)

    def _decode(self, path: Path) -> np.ndarray | None:
        try:
            return decode_picture(path.read_bytes())
        except ImageDecodeError as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or str(error)
        self._bad.add(path)
        if len(self._bad) > MAX_BAD_IMAGES:
            raise InputError(
                f"{self._path}: more than {MAX_BAD_IMAGES} pictures cannot be read, "
                f"such as {path.name} ({reason})"
            )
        self.warn(f"{path.name} skipped: {reason}")
        return None


def _pictures(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    if not entries:
        raise InputError(f"{folder} is an empty folder; give a folder of pictures or a rosbag2")
    pictures = [
        entry
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
    ]
    if not pictures:
        names = [entry.name + ("/" if entry.is_dir() else "") for entry in entries[:_LISTED]]
        more = f", and {len(entries) - _LISTED} more" if len(entries) > _LISTED else ""
        raise InputError(
            f"{folder} holds no pictures ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}) "
            f"and is no rosbag2; it holds {', '.join(names)}{more}"
        )
    return pictures


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Order digits by value and the rest by letter: img2 before img10, 1533151603.51 before .6."""
    # Unix seconds are one number with a fraction, the only such in common use.
    name = re.sub(
        r"(?<!\d)(\d{10}\.)(\d{1,9})(?!\d)", lambda found: found[1] + found[2].ljust(9, "0"), name
    )
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(p), p) if p.isdigit() else (1, 0, p) for p in parts if p] + [(2, 0, name)]


def stamps_from_names(stems: list[str]) -> list[int] | None:
    """Read Unix times in nanoseconds from file names, or None unless all are plausible."""
    stamps = []
    for stem in stems:
        match = re.search(r"(?:^|\D)(?:(\d{10})\.(\d{1,9})|(\d{19}|\d{16}|\d{13}))$", stem)
        if match is None:
            return None
        if match[3]:
            stamps.append(int(match[3]) * 10 ** (19 - len(match[3])))
        else:
            stamps.append(int(match[1]) * NS_PER_S + int(match[2].ljust(9, "0")))
    plausible = all(_YEAR_2000_NS <= stamp < _YEAR_2100_NS for stamp in stamps)
    increasing = all(a < b for a, b in pairwise(stamps))
    return stamps if plausible and increasing else None
