"""What of the ground cameras see at an instant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.camera_view import CameraView

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
        return self.alone().sees(np.zeros(len(places), np.intp), places, floor_m)

    def alone(self) -> GroundViews:
        """As views of which there is one."""
        return GroundViews(self.camera, self.fixed_from_optical[None], self.depth[None])


@dataclass(frozen=True, eq=False)
class GroundViews:
    """A camera's depth on each of K trajectories.

    Attributes:
        camera: as of `GroundView`.
        fixed_from_optical: (K, 4, 4), as of `GroundView`.
        depth: (K, H, W), as of `GroundView`.
    """

    camera: CameraView
    fixed_from_optical: NDArray[np.float64]
    depth: NDArray[np.float32]

    def sees(
        self, rows: NDArray[np.intp], places: NDArray[np.float64], floor_m: float = 0.0
    ) -> NDArray[np.bool_]:
        """As `GroundView.sees`, of each place (N,) by the view of its row (N,)."""
        pose = np.swapaxes(self.fixed_from_optical[:, :3, :3], 1, 2)
        offset = -(pose @ self.fixed_from_optical[:, :3, 3:])
        if places.shape[1] == 2:
            offset, pose = offset + floor_m * pose[:, :, 2:], pose[:, :, :2]
        # Coordinates as rows, which lie one after the other in memory.
        if len(pose) == 1:
            points = pose[0] @ places.T + offset[0]
        else:
            points = offset[rows, :, 0].T.copy()
            for axis in range(pose.shape[2]):
                points += pose[rows, :, axis].T * places[:, axis]
        pixels, along = self.camera.project(points.T)
        x, y = pixels.T
        seen = np.zeros(len(places), bool)
        with np.errstate(invalid="ignore"):
            inside = np.flatnonzero((x >= 0) & (x < 1) & (y >= 0) & (y < 1))
            column = (x[inside] * self.depth.shape[2]).astype(np.intp)
            line = (y[inside] * self.depth.shape[1]).astype(np.intp)
            depth = self.depth[rows[inside], line, column]
            seen[inside] = along[inside] <= _BEHIND * depth
        return seen
