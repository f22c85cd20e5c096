"""A pinhole camera's intrinsics, as sensor_msgs/CameraInfo has them, without ROS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dino_foresight_ros.errors import UsageError

_MAX_ASPECT_ERROR = 0.02


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) differ by an even resize, up to rounding."""
    if min(*one, *other) <= 0:
        return False
    return abs(one[1] * other[0] / (one[0] * other[1]) - 1.0) <= _MAX_ASPECT_ERROR


def relative_focal(of_width: float, of_height: float) -> float:
    """Focal length over the square root of the picture's area, of its fractions of either side.

    It stays where a picture is resized, and nearly so where it is stretched.
    """
    return math.sqrt(of_width * of_height)


def horizontal_fov_deg(focal: float, size: tuple[int, int]) -> float:
    """Horizontal field of view of a pinhole camera, degrees.

    Args:
        focal: as `relative_focal` gives it.
        size: (height, width) of its pictures, of square pixels.
    """
    height, width = size
    return 2.0 * math.degrees(math.atan(0.5 * math.sqrt(width / height) / focal))


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

    @property
    def focal(self) -> float | None:
        """Focal length, as `CameraView.focal` has it; None where the camera is not calibrated."""
        fx, _, _, _, fy, *_ = self.k
        known = 0.0 < fx < math.inf and 0.0 < fy < math.inf and min(self.width, self.height) > 0
        return relative_focal(fx / self.width, fy / self.height) if known else None

    def resized(self, height: int, width: int) -> CameraModel:
        """Intrinsics of the same pictures at another size."""
        x, y = width / self.width, height / self.height
        fx, skew, cx, _, fy, cy, *last = self.k
        # The centre of the first pixel is (0, 0), so its corner, which stays, is (-0.5, -0.5).
        cx, cy = (cx + 0.5) * x - 0.5, (cy + 0.5) * y - 0.5
        k = (fx * x, skew * x, cx, 0.0, fy * y, cy, *last)
        return replace(self, width=width, height=height, k=k)
