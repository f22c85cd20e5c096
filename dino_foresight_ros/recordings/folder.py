"""Recordings of one picture file per frame, and folders of pictures."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.file_kinds import IMAGE_SUFFIXES, is_picture, natural_key
from dino_foresight_ros.recordings.image_decoding import ImageDecodeError, ImageDecoder
from dino_foresight_ros.recordings.recording import (
    YEAR_2000_NS,
    YEAR_2100_NS,
    Frame,
    Recording,
    UnreadableFrame,
    Warn,
    Window,
)
from dino_foresight_ros.stamps import NS_PER_S

DEFAULT_FOLDER_RATE_HZ = 10.0
_LISTED = 5


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
        apply_orientation: bool = True,
        **others: Any,
    ) -> None:
        """Take the files and what is known of them; `others` as for `Recording`."""
        super().__init__(name, stamps_ns, size, **others)
        self.root = root
        self.pictures = list(pictures)
        self._apply_orientation = apply_orientation
        self._decoder = ImageDecoder(self._tell, find_bit_depth=self._find_bit_depth)

    def frame_file(self, index: int) -> str:
        """Return the picture's path."""
        return str(self.pictures[index])

    def _title(self, index: int) -> str:
        return self.pictures[index].name

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        image = self._decode(index, self._decoder)
        found = self._labels(index, labels)
        return Frame(int(self.stamps_ns[index]), image=image, index=index, **found)

    def _decode(self, index: int, decoder: ImageDecoder) -> NDArray[np.uint8]:
        path = self.pictures[index]
        try:
            data = path.read_bytes()
            return decoder.decode_picture(data, apply_orientation=self._apply_orientation)
        except ImageDecodeError as error:
            raise UnreadableFrame(str(path), index, str(error)) from error
        except OSError as error:
            raise UnreadableFrame(str(path), index, error.strerror or str(error)) from error

    def _find_bit_depth(self) -> int:
        return self._bit_depth_of(self._decode)

    def _labels(self, index: int, kinds: Collection[str]) -> dict[str, Any]:
        """Read the labels of a frame, by kind."""
        return {}

    def _fingerprint_parts(self) -> Iterable[str]:
        yield "pictures"
        yield self.stamps_ns.tobytes().hex()
        yield from files_identity(self.pictures, self.root)


class FolderRecording(PictureRecording):
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
        name: str = "",
        window: Window | None = None,
        on_warning: Warn | None = None,
        frame_rate_hz: float | None = None,
    ) -> None:
        """List the pictures and decode the first good one of the window.

        Raises:
            InputError: no pictures, or none of the first ones readable.
            UsageError: a frame rate that is none.
        """
        if frame_rate_hz is not None and not 0.0 < frame_rate_hz < 1e6:
            raise UsageError(f"frame rate {frame_rate_hz:g} Hz: give a positive number")
        paths = _pictures(path)
        named = None if frame_rate_hz else stamps_from_names([p.stem for p in paths])
        rate_hz = frame_rate_hz or DEFAULT_FOLDER_RATE_HZ
        stamps = named or [round(i * NS_PER_S / rate_hz) for i in range(len(paths))]
        stamps_ns, size = np.array(stamps, np.int64), (0, 0)
        name = name or path.name or str(path)
        super().__init__(path, paths, name, stamps_ns, size, window=window, on_warning=on_warning)
        self.has_absolute_stamps = named is not None
        if named is None:
            self.frame_rate_hz = rate_hz
        elif len(named) > 1:
            self.frame_rate_hz = NS_PER_S / float(np.median(np.diff(stamps_ns)))
        if named is None and frame_rate_hz is None:
            self.warn(
                f"{self.name}: no time stamps in the file names; taken as {rate_hz:g} pictures "
                "per second (give the frame rate to change that)"
            )
        self.size = self._first_size()

    def _first_size(self) -> tuple[int, int]:
        """Decode up to the first good picture; a folder of bad ones is an error."""
        indices = self._in_window()
        for index in indices:
            try:
                height, width, _ = self._read(index, ()).image.shape
            except UnreadableFrame as error:
                self._leave_out(index, error.reason)
            else:
                return (height, width)
        if indices:
            raise InputError(f"{self.root}: none of its {len(indices)} pictures is readable")
        return (0, 0)


def _pictures(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}") from error
    if not entries:
        raise InputError(f"{folder} is an empty folder; give a folder of pictures or a rosbag2")
    pictures = list(filter(is_picture, entries))
    if not pictures:
        names = [entry.name + ("/" if entry.is_dir() else "") for entry in entries[:_LISTED]]
        more = f", and {len(entries) - _LISTED} more" if len(entries) > _LISTED else ""
        raise InputError(
            f"{folder} holds no pictures ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}) "
            f"and is no rosbag2; it holds {', '.join(names)}{more}"
        )
    return pictures


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
    plausible = all(YEAR_2000_NS <= stamp < YEAR_2100_NS for stamp in stamps)
    increasing = all(a < b for a, b in pairwise(stamps))
    return stamps if plausible and increasing else None
