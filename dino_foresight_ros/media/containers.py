"""Video containers cut off before their end, told from their outermost structure."""

from __future__ import annotations

from pathlib import Path


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
        while position + 8 <= size:
            file.seek(position)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            elif length == 0:
                length = size - position
            if length < 8:
                return None
            seen.add(header[4:8])
            position += length
    if position > size:
        lacks = "" if b"moov" in seen else ", and its index (moov) is missing"
        return f"{size} of at least {position} bytes{lacks}"
    return None if b"moov" in seen else "its index (moov) is missing"
