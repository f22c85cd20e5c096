"""A pinhole camera's intrinsics, as sensor_msgs/CameraInfo has them, without ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dino_foresight_ros.errors import UsageError


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics of one camera.

    `k` is the row-major 3x3 matrix in pixels, `d` the distortion coefficients in the order that
    `distortion_model` defines (empty: none), `frame_id` the optical frame (x right, y down,
    z forward).
    """

    width: int
    height: int
    k: tuple[float, ...]
    d: tuple[float, ...] = ()
    distortion_model: str = "plumb_bob"
    frame_id: str = ""

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float) -> CameraModel:
        """Build an ideal pinhole camera with square pixels from its horizontal field of view."""
        if not 0.0 < fov_deg < 180.0:
            raise UsageError(f"field of view {fov_deg:g} degrees: give more than 0, less than 180")
        focal_px = width / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        # Pixel centres have whole coordinates, so the image spans -0.5 to width - 0.5.
        k = (focal_px, 0.0, (width - 1) / 2, 0.0, focal_px, (height - 1) / 2, 0.0, 0.0, 1.0)
        return cls(width, height, k, (0.0,) * 5)
