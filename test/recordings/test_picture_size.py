"""A picture that claims to be huge is refused before anything is allocated for it."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.recordings.image_decoding import ImageDecodeError, decode_picture
from dino_foresight_ros.recordings.picture_size import declared_size, implausible_size

SIZES = [(1, 1), (7, 3000), (480, 640), (300, 9)]
PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]


def encode(kind: str, image: np.ndarray, options: Any = ()) -> bytes:
    return cv2.imencode(kind, image, list(options))[1].tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "options"), [(".jpg", ()), (".jpg", PROGRESSIVE), (".png", ())])
def test_the_declared_size_is_the_decoded_one(
    kind: str, options: Any, size: tuple[int, int]
) -> None:
    for channels in ((), (3,)):
        noise = np.random.default_rng(0).integers(0, 256, (*size, *channels), dtype=np.uint8)
        data = encode(kind, noise, options)
        assert declared_size(data) == size
        assert implausible_size(data) is None


@pytest.mark.slow
def test_a_blank_picture_packs_as_tightly_as_any_and_is_taken() -> None:
    blank = np.zeros((6000, 8000), np.uint8)
    bilevel = encode(".png", blank, [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9])
    for data in (bilevel, encode(".jpg", blank, [cv2.IMWRITE_JPEG_OPTIMIZE, 1, *PROGRESSIVE])):
        assert implausible_size(data) is None
        assert decode_picture(data).shape == (6000, 8000, 3)


def test_a_huge_claim_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("this allocates it"))
    small = np.zeros((6, 9, 3), np.uint8)
    png = bytearray(encode(".png", small))
    png[16:24] = struct.pack(">II", 30_000, 30_000)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    jpeg = bytearray(encode(".jpg", small))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    for data, side in ((bytes(png), 30_000), (bytes(jpeg), 65_000)):
        with pytest.raises(ImageDecodeError, match=f"header says {side}x{side}, which"):
            decode_picture(data)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM" * 9]
)
def test_no_size_where_there_is_no_header(data: bytes) -> None:
    assert declared_size(data) is None
    assert implausible_size(data) is None


@pytest.mark.parametrize("length", [0xBF0000B3, 1000, 2**32 - 1])
def test_a_png_chunk_longer_than_the_file_is_refused_at_once(length: int) -> None:
    png = bytearray(encode(".png", np.zeros((6, 9, 3), np.uint8)))
    content = png.index(b"IDAT")
    png[content - 4 : content] = struct.pack(">I", length)
    with pytest.raises(ImageDecodeError, match="cut off before its end"):
        decode_picture(bytes(png))
