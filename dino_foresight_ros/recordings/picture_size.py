"""The sizes that JPEG and PNG files declare, and whether they are whole, before they are decoded.

A decoder takes memory and time for what is claimed: the picture's size, and a PNG chunk's length.
One flipped bit in a 236-byte PNG cost five seconds and 3 GB so.
"""

from __future__ import annotations

from collections.abc import Collection

MAX_PIXELS = 2**28
"""More than any camera has; 0.8 GB as RGB."""
MAX_PIXELS_PER_BYTE = 10_000
"""Deflate packs at most 1032 bytes into one, a PNG at most 8 pixels into a byte."""

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# Frame headers (SOF); C4, C8 and CC are tables and extensions.
_SCAN = (0xDA,)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})


def declared_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) that the header of a JPEG or PNG tells; None for anything else."""
    if data.startswith(_PNG) and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    return _jpeg_size(data) if data.startswith(_JPEG) else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = _jpeg_segment(data, _FRAMES)
    if position is None or position + 9 > len(data):
        return None
    height = int.from_bytes(data[position + 5 : position + 7], "big")
    return height, int.from_bytes(data[position + 7 : position + 9], "big")


def _jpeg_segment(data: bytes, markers: Collection[int]) -> int | None:
    """Where the first segment with one of the markers begins; thumbnails are stepped over."""
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 2 <= len(data):
        marker = data[position + 1]
        if marker in markers:
            return position
        if marker in _WITHOUT_LENGTH:
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def is_cut(data: bytes) -> bool:
    """Whether a JPEG or PNG ends before its end mark, which a decoder fills with grey or black.

    What follows the end mark counts for nothing: some drivers send their whole buffer.
    """
    if data.startswith(_JPEG):
        scan = _jpeg_segment(data, _SCAN)
        return scan is None or data.find(b"\xff\xd9", scan) < 0
    return data.startswith(_PNG) and _png_end(data) is None


def _png_end(data: bytes) -> int | None:
    """Where the last chunk (length, type, content, checksum) ends; None where it is missing."""
    position = len(_PNG)
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IEND":
            return position if position <= len(data) else None
    return None


def implausible_size(data: bytes) -> str | None:
    """Why a picture, or a part of it, cannot be as large as it says; None where it can."""
    size = declared_size(data)
    if size is None or size[0] * size[1] <= min(MAX_PIXELS, MAX_PIXELS_PER_BYTE * len(data)):
        return None
    return f"its header says {size[1]}x{size[0]}, which {len(data)} bytes cannot hold"
