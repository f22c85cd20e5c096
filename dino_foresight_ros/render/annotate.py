"""Draws one predicted step over the newest picture."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.render.colors import ClassPalette, Color, Picture, overlay
from dino_foresight_ros.render.panels import legend_entries, legend_panel
from dino_foresight_ros.render.text import draw_tag, with_untrained_banner

_LEGEND_SHARE = 0.19
_LEGEND_COVER = 0.72


def annotate_step(
    image: Picture,
    ids: NDArray[np.uint8],
    palette: ClassPalette,
    caption: str,
    *,
    alpha: float = 0.5,
    with_legend: bool = True,
    trained: bool = True,
) -> Picture:
    """Lay predicted classes over a picture, with a caption and a legend of the classes in it.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (h, w) uint8 class ids of the same view, any size.
        palette: names and colours; unlabelled pixels stay as they are.
        caption: a line in the upper left corner.
        alpha: how strongly classes cover the picture, 0 to 1.
        with_legend: whether names and colours stand at the right.
        trained: False writes a warning across the top.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = image.shape[:2]
    full = np.asarray(cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    picture = overlay(image, palette.colorize(full), alpha, full != palette.unlabelled)
    if with_legend:
        _lay_legend(picture, palette, ids)
    return captioned(picture, caption, trained)


def captioned(picture: Picture, caption: str, trained: bool = True) -> Picture:
    """A picture with a line in its upper left corner, and the warning of untrained weights."""
    height, width = picture.shape[:2]
    picture = picture.copy()
    size = max(11, round(height * 0.04))
    below = 0
    if not trained:
        picture = with_untrained_banner(picture)
        below = max(16, width // 24)
    draw_tag(picture, (size // 2, below + size // 2), caption, size)
    return picture


def _lay_legend(picture: Picture, palette: ClassPalette, ids: NDArray[np.uint8]) -> None:
    height, width = picture.shape[:2]
    entries = legend_entries(palette, {int(i) for i in np.unique(ids)})
    wide = max(90, round(width * _LEGEND_SHARE))
    if not entries or wide > width // 2:
        return
    tall = min(height, round(len(entries) * max(14, height * 0.045)) + 12)
    panel = _panel(entries, tall, wide)
    corner = picture[height - tall :, width - wide :]
    corner[:] = overlay(np.ascontiguousarray(corner), panel, _LEGEND_COVER)


@lru_cache(maxsize=64)
def _panel(entries: tuple[tuple[str, Color], ...], height: int, width: int) -> Picture:
    return legend_panel(entries, height, width)
