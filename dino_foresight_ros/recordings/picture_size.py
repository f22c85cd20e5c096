"""The sizes that JPEG and PNG files declare, read before they are decoded.

A decoder takes memory and time for what is claimed: the picture's size, and a PNG chunk's length.
One flipped bit in a 236-byte PNG cost five seconds and 3 GB so.
"""

from __future__ import annotations

MAX_PIXELS = 2**28
"""More than any camera has; 0.8 GB as RGB."""
MAX_PIXELS_PER_BYTE = 10_000
"""Deflate packs at most 1032 bytes into one, a PNG at most 8 pixels into a byte."""

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# Frame headers (SOF); C4, C8 and CC are tables and extensions.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that the header of a JPEG or PNG tells; None for anything else."""
    if data.startswith(_PNG) and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    return _jpeg_size(data) if data.startswith(_JPEG) else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 9 <= len(data):
        marker = data[position + 1]
        if marker in _FRAMES:
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return height, int.from_bytes(data[position + 7 : position + 9], "big")
        if marker in _WITHOUT_LENGTH:
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _png_chunks_fit(data: bytes) -> bool:
    """Whether every chunk (length, type, content, checksum) ends within the data."""
    position = len(_PNG)
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return position <= len(data)


def implausible_size(data: bytes) -> str | None:
    """Why a picture, or a part of it, cannot be as large as it says; None where it can."""
    if data.startswith(_PNG) and not _png_chunks_fit(data):
        return "a part of it is longer than the whole"
    size = declared_size(data)
    if size is None or size[0] * size[1] <= min(MAX_PIXELS, MAX_PIXELS_PER_BYTE * len(data)):
        return None
    return f"its header says {size[1]}x{size[0]}, which {len(data)} bytes cannot hold"
