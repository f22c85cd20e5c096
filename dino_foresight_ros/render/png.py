"""Writes pictures as PNG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render.colors import Picture


def write_png(path: Path, picture: Picture) -> None:
    """Write (H, W, 3) uint8 RGB.

    Raises:
        ForesightError: it cannot be written.
    """
    bgr = np.ascontiguousarray(picture[..., ::-1])
    # More takes eight times as long, seconds for a sheet, for a twentieth of its size.
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 6]):
        raise ForesightError(f"cannot write {path}: is the disk full?")
