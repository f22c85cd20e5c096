"""Surprise as colours: as expected dark, surprising bright, unknown grey."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.render.palette import Picture

BRIGHTEST = 4.0
"""Surprise from which on the colour stays the brightest: four times what a still world would be."""

PATCH_PIXELS = 8
"""Pixels per patch, as in the predicted images."""

_UNKNOWN = 96


def colorize_surprise(surprise: NDArray[np.float32]) -> Picture:
    """(h, w) float32, NaN unknown -> (8h, 8w, 3) uint8 RGB.

    The scale is the square root of the value, since the values are squared errors.
    """
    known = ~np.isnan(surprise)
    level = np.sqrt(np.clip(np.where(known, surprise, 0.0), 0.0, BRIGHTEST) / BRIGHTEST)
    bgr = cv2.applyColorMap((level * 255.0).round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    colors = np.asarray(bgr[..., ::-1], np.uint8).copy()
    colors[~known] = _UNKNOWN
    return colors.repeat(PATCH_PIXELS, axis=0).repeat(PATCH_PIXELS, axis=1)
