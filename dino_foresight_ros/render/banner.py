"""The warning that a picture comes from random weights."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.text import draw_text, fitting_size, text_size


def untrained_banner(width: int, height: int) -> Picture:
    """(height, width, 3) uint8: the warning across the whole width."""
    band = np.empty((height, width, 3), np.uint8)
    band[:] = theme.WARNING
    room, largest = int(width * 0.94), max(8, round(height * 0.6))
    # On a picture too narrow for the sentence, its most important words.
    texts = [text for text in theme.UNTRAINED_TEXTS if text_size(text, 8, bold=True)[0] <= room]
    text = texts[0] if texts else theme.UNTRAINED_TEXTS[-1]
    size = fitting_size(text, room, largest, bold=True)
    center = (width // 2, height // 2)
    draw_text(band, center, text, size, theme.ON_WARNING, anchor="mm", bold=True)
    return band


def with_untrained_banner(image: Picture) -> Picture:
    """A copy of a picture of the same size, the warning written across its top."""
    result = image.copy()
    height = min(max(16, image.shape[1] // 24), image.shape[0])
    result[:height] = untrained_banner(image.shape[1], height)
    return result
