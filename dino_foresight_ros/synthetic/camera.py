"""A pinhole camera in the world frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.faces import Array

# Columns: the optical axes (x right, y down, z forward) of a camera that looks along world x.
_OPTICAL_IN_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Camera:
    """Pinhole camera. Pixel (0, 0) is the centre of the top left pixel, as in OpenCV and ROS.

    `rotation` (3, 3) takes optical axes to world axes, `position` (3,) is in metres.
    """

    width: int
    height: int
    focal_px: float
    position: Array
    rotation: Array

    @property
    def center_px(self) -> Array:
        return np.array([(self.width - 1) / 2, (self.height - 1) / 2])

    @property
    def k(self) -> Array:
        """Intrinsic matrix (3, 3)."""
        cx, cy = self.center_px
        return np.array([[self.focal_px, 0.0, cx], [0.0, self.focal_px, cy], [0.0, 0.0, 1.0]])

    @property
    def world_from_camera(self) -> Array:
        """Pose (4, 4): takes points of the optical frame to the world frame."""
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self.rotation, self.position
        return pose

    def project(self, points: Array) -> Array:
        """Points (..., 3) of the optical frame -> pixels (..., 2)."""
        return points[..., :2] / points[..., 2:] * self.focal_px + self.center_px

    def scaled(self, factor: int) -> Camera:
        """The same view with `factor` times as many pixels each way, covering the same area."""
        return Camera(
            self.width * factor,
            self.height * factor,
            self.focal_px * factor,
            self.position,
            self.rotation,
        )


def focal_from_fov(width: int, horizontal_fov_deg: float) -> float:
    """Focal length in pixels such that `width` pixels span the angle."""
    return width / 2 / float(np.tan(np.radians(horizontal_fov_deg) / 2))


def look(yaw_rad: float, pitch_rad: float, roll_rad: float) -> Array:
    """Rotation (3, 3) from optical to world axes; positive pitch looks down."""
    cy, sy = np.cos(yaw_rad), np.sin(yaw_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    roll = np.array([[1.0, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return yaw @ pitch @ roll @ _OPTICAL_IN_BODY


def mounted(conditions: Conditions) -> Array:
    """Pose (4, 4) of the optical frame in the base: x forward, y left, z up, on the ground below
    the camera."""
    pose = np.eye(4)
    pitch, roll = np.radians(conditions.camera_pitch_deg), np.radians(conditions.camera_roll_deg)
    pose[:3, :3] = look(0.0, pitch, roll)
    pose[2, 3] = conditions.camera_height_m
    return pose
