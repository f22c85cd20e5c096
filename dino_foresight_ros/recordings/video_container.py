"""Tells from a file's outermost bytes whether it is a video, and whether it is whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


def is_text(path: Path) -> bool:
    """Tell whether a file begins as text does: libav plays text as the picture of a terminal."""
    with path.open("rb") as file:
        head = file.read(4096)
    if any(byte < 0x20 and byte not in b"\t\n\f\r\x1b" for byte in head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in two at the end of what was read is no sign against text.
        return error.start >= len(head) - 3
    return True


def is_sound(path: Path) -> bool:
    """Tell whether a file of a common kind (MP4, WAV, MP3, FLAC) holds sound and no picture."""
    with path.open("rb") as file:
        head = file.read(16)
        if head[4:8] != b"ftyp":
            is_wave = head[:4] == b"RIFF" and head[8:12] == b"WAVE"
            return is_wave or head.startswith((b"ID3", b"fLaC"))
        for kind, start, length in _boxes(file, path.stat().st_size):
            if kind == b"moov":
                file.seek(start)
                tracks = set(re.findall(rb"hdlr.{8}(soun|vide)", file.read(length), re.DOTALL))
                return tracks == {b"soun"}
    return False


def describe_cut(path: Path) -> str | None:
    """Say how a MP4/MOV or AVI file was cut off, or None when it was not (or is another kind).

    OpenCV delivers what it can decode and says nothing, so the file's own sizes are the only
    sure sign.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] == b"ftyp":
            return _mp4_cut(path, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            expected = int.from_bytes(head[4:8], "little") + 8
            if expected > size:
                return f"{size} of {expected} bytes"
    return None


def _mp4_cut(path: Path, size: int) -> str | None:
    """Walk the boxes: each names its length, and one of them (moov) is the index."""
    position, seen = 0, set()
    with path.open("rb") as file:
        for kind, start, length in _boxes(file, size):
            if length < 8:
                return None
            seen.add(kind)
            position = start + length
    if position > size:
        lacks = "" if b"moov" in seen else ", and its index (moov) is missing"
        return f"{size} of at least {position} bytes{lacks}"
    return None if b"moov" in seen else "its index (moov) is missing"


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, position and length of a MP4 file's outer boxes, up to one that is too short."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - position
        yield header[4:8], position, length
        if length < 8:
            return
        position += length
