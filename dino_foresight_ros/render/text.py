"""Anti-aliased text on pictures, readable at any size, and the banner of untrained weights.

The font is the one that Pillow carries. Masks are cached, because a video writes the same words
on every frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dino_foresight_ros.render import style
from dino_foresight_ros.render.colors import Color, Picture

Mask = NDArray[np.uint8]

_FALLBACK_FONT = "DejaVuSans.ttf"
_OVERSAMPLING = 4
_LEAST_SIZE = 8
_TAG_OPACITY = 0.62


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 carries only a bitmap font
        return ImageFont.truetype(_FALLBACK_FONT, size)


@lru_cache(maxsize=2048)
def _mask(text: str, size: int, bold: bool) -> Mask:
    """Coverage of the text, 0 to 255: as wide as its advance, as high as a line of the font."""
    # Drawn large and shrunk: small letters keep their spacing, which hinting would spoil.
    font = _font(size * _OVERSAMPLING)
    ascent = _line_metrics(size)[0]
    width, height = text_size(text, size, bold)
    canvas = Image.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING), 0)
    baseline = (0, ascent * _OVERSAMPLING)
    # The font has one weight: a rim makes a heavier one.
    rim = max(1, round(size * _OVERSAMPLING * 0.018)) if bold else 0
    draw = ImageDraw.Draw(canvas)
    draw.text(baseline, text, fill=255, font=font, anchor="ls", stroke_width=rim)
    mask = np.asarray(
        cv2.resize(np.array(canvas), (width, height), interpolation=cv2.INTER_AREA), np.uint8
    )
    mask.setflags(write=False)
    return mask


def _line_metrics(size: int) -> tuple[int, int, int]:
    """(ascent, descent, both together) of a line in pixels."""
    ascent, descent = _font(size * _OVERSAMPLING).getmetrics()
    above, below = -(-ascent // _OVERSAMPLING), -(-descent // _OVERSAMPLING)
    return above, below, above + below


@lru_cache(maxsize=4096)
def text_size(text: str, size: int, bold: bool = False) -> tuple[int, int]:
    """(width, height) in pixels of a line of text at a font size in pixels."""
    advance = _font(size * _OVERSAMPLING).getlength(text) / _OVERSAMPLING
    return max(1, int(np.ceil(advance + (0.6 if bold else 0.0)))), _line_metrics(size)[2]


def blend(image: Picture, mask: Mask, x: int, y: int, color: Color) -> None:
    """Paint a colour through a mask whose top left corner is at (x, y), clipped to the image."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + mask.shape[0], image.shape[0]), min(x + mask.shape[1], image.shape[1])
    if top >= bottom or left >= right:
        return
    weight = mask[top - y : bottom - y, left - x : right - x, None].astype(np.float32) / 255.0
    region = image[top:bottom, left:right]
    region[:] = (region + weight * (np.array(color, np.float32) - region) + 0.5).astype(np.uint8)


def draw_text(
    image: Picture,
    xy: tuple[int, int],
    text: str,
    size: int,
    color: Color = (235, 237, 240),
    *,
    anchor: str = "lt",
    bold: bool = False,
) -> tuple[int, int, int, int]:
    """Write one line in place.

    Args:
        image: (H, W, 3) uint8, written on; what falls outside is cut off.
        xy: where the anchor lies, in pixels.
        text: one line.
        size: font size in pixels.
        color: of the letters.
        anchor: l, m or r, then t, m, b or s (the baseline): which point of the line `xy` is.
        bold: a heavier weight.

    Returns:
        (left, top, right, bottom) of the line.
    """
    mask = _mask(text, size, bold)
    height, width = mask.shape
    x = xy[0] - {"l": 0, "m": width // 2, "r": width}[anchor[0]]
    above = {"t": 0, "m": height // 2, "b": height, "s": _line_metrics(size)[0]}
    y = xy[1] - above[anchor[1]]
    blend(image, mask, x, y, color)
    return x, y, x + width, y + height


def draw_tag(
    image: Picture,
    xy: tuple[int, int],
    text: str,
    size: int,
    color: Color = (255, 255, 255),
    *,
    anchor: str = "lt",
) -> None:
    """Write one line in place on a translucent box; `xy` and `anchor` are of the box."""
    pad_x, pad_y = round(size * 0.45), round(size * 0.16)
    width, height = text_size(text, size)
    box_width, box_height = width + 2 * pad_x, height + 2 * pad_y
    x = xy[0] - {"l": 0, "m": box_width // 2, "r": box_width}[anchor[0]]
    y = xy[1] - {"t": 0, "m": box_height // 2, "b": box_height}[anchor[1]]
    box = np.full((box_height, box_width), round(_TAG_OPACITY * 255), np.uint8)
    blend(image, box, x, y, (0, 0, 0))
    draw_text(image, (x + pad_x, y + pad_y), text, size, color)


def fitting_size(text: str, width: int, largest: int, bold: bool = False) -> int:
    """The largest font size at which the text is at most `width` pixels wide; 8 at least."""
    for size in range(largest, _LEAST_SIZE, -1):
        if text_size(text, size, bold)[0] <= width:
            return size
    return _LEAST_SIZE


def shortened(text: str, width: int, size: int) -> str:
    """The text, its end replaced by "..." where it is wider than `width` pixels."""
    if text_size(text, size)[0] <= width:
        return text
    shortest, longest = 0, len(text)
    while longest - shortest > 1:
        end = (shortest + longest) // 2
        fits = text_size(text[:end].rstrip() + "...", size)[0] <= width
        shortest, longest = (end, longest) if fits else (shortest, end)
    return text[:shortest].rstrip() + "..."


def untrained_banner(width: int, height: int) -> Picture:
    """(height, width, 3) uint8: the warning across the whole width."""
    band = np.empty((height, width, 3), np.uint8)
    band[:] = style.WARNING
    room, largest = int(width * 0.94), max(_LEAST_SIZE, round(height * 0.6))
    # On a picture too narrow for the sentence, its most important words.
    texts = [
        text for text in style.UNTRAINED_TEXTS if text_size(text, _LEAST_SIZE, bold=True)[0] <= room
    ]
    text = texts[0] if texts else style.UNTRAINED_TEXTS[-1]
    size = fitting_size(text, room, largest, bold=True)
    center = (width // 2, height // 2)
    draw_text(band, center, text, size, style.ON_WARNING, anchor="mm", bold=True)
    return band


def with_untrained_banner(image: Picture) -> Picture:
    """A copy of a picture of the same size, the warning written across its top."""
    result = image.copy()
    height = min(max(16, image.shape[1] // 24), image.shape[0])
    result[:height] = untrained_banner(image.shape[1], height)
    return result
