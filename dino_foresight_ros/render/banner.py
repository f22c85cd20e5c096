"""The warning that a picture comes from random weights."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.text import draw_text, fitting_size


def untrained_banner(width: int, height: int) -> Picture:
    """(height, width, 3) uint8: the warning across the whole width."""
    band = np.empty((height, width, 3), np.uint8)
    band[:] = theme.WARNING
    size = fitting_size(theme.UNTRAINED_TEXT, int(width * 0.9), max(8, round(height * 0.6)))
    center = (width // 2, height // 2)
    draw_text(band, center, theme.UNTRAINED_TEXT, size, theme.ON_WARNING, anchor="mm", bold=True)
    return band


def with_untrained_banner(image: Picture) -> Picture:
    """A copy of a picture of the same size, the warning written across its top."""
    result = image.copy()
    height = min(max(16, image.shape[1] // 24), image.shape[0])
    result[:height] = untrained_banner(image.shape[1], height)
    return result
