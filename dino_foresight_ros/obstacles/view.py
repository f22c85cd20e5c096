"""What of the ground a camera sees at an instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.recordings.poses import inverse

_BEHIND = 1.1
"""Ground at up to so many times the depth of its pixel counts as seen: depth is not exact."""


@dataclass(frozen=True, eq=False)
class GroundView:
    """A camera's depth at one instant, asked for places on the ground.

    Attributes:
        camera: how its pictures come about.
        fixed_from_optical: (4, 4) pose of the optical frame in the frame of the places, such as the
            base of now.
        depth: (H, W) float32 metres; infinity in the sky, NaN unknown.
    """

    camera: CameraView
    fixed_from_optical: NDArray[np.float64]
    depth: NDArray[np.float32]

    def sees(self, places: NDArray[np.float64], floor_m: float = 0.0) -> NDArray[np.bool_]:
        """Whether nothing stands between the camera and places (N, 2) or (N, 3) of the ground.

        Args:
            places: metres; of (N, 2) the height is `floor_m`.
        """
        if places.shape[1] == 2:
            places = np.column_stack([places, np.full(len(places), floor_m)])
        pose = inverse(self.fixed_from_optical)
        pixels, along = self.camera.project(places @ pose[:3, :3].T + pose[:3, 3])
        height, width = self.depth.shape
        with np.errstate(invalid="ignore"):
            inside = ((pixels >= 0) & (pixels < 1)).all(axis=1)
            column = (pixels[inside, 0] * width).astype(np.intp)
            row = (pixels[inside, 1] * height).astype(np.intp)
            seen = np.zeros(len(places), bool)
            seen[inside] = along[inside] <= _BEHIND * self.depth[row, column]
        return seen
