"""Surface normals as colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.render.palette import Picture


def colorize_normals(normals: NDArray[np.float32]) -> Picture:
    """(H, W, 3) unit normals in the optical frame (x right, y down, z forward) -> uint8 RGB.

    Red grows to the right, green upwards and blue towards the camera, as in most papers: a road
    is green, a wall that faces the camera is blue. NaN is black.
    """
    unknown = np.asarray(np.isnan(normals).any(axis=-1))
    known = np.where(unknown[..., None], 0.0, normals)
    towards_viewer = known * np.array([1.0, -1.0, -1.0], np.float32)
    picture = np.clip((towards_viewer + 1.0) * 127.5 + 0.5, 0, 255).astype(np.uint8)
    picture[unknown] = 0
    return picture
