"""Rigid poses as (4, 4) matrices, and unit quaternions (w, x, y, z)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.opencv import cv2

Matrix = NDArray[np.float64]

OPTICAL_IN_BODY = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Pose of an optical frame (x right, y down, z forward) in its camera's body frame (x forward, y
left, z up), REP-103."""


class Transform(NamedTuple):
    """A rigid transform: `translation` (x, y, z) in metres, `rotation` a unit (w, x, y, z)."""

    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]

    @classmethod
    def of(cls, pose: Matrix) -> Transform:
        """Of a rigid (4, 4)."""
        axis = cv2.Rodrigues(np.ascontiguousarray(pose[:3, :3]))[0].ravel()
        angle = float(np.linalg.norm(axis))
        x, y, z = (float(v) for v in axis * (np.sin(angle / 2) / angle if angle > 1e-12 else 0.5))
        place = (float(pose[0, 3]), float(pose[1, 3]), float(pose[2, 3]))
        return cls(place, (float(np.cos(angle / 2)), x, y, z))


def rotation_matrix(quaternion: Sequence[float] | Matrix) -> Matrix:
    """Unit (w, x, y, z) -> (3, 3)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def slerp(first: Matrix, last: Matrix, fraction: float) -> Matrix:
    """Turn evenly from one unit quaternion (w, x, y, z) to another, the short way round."""
    cosine = float(first @ last)
    if cosine < 0:
        last, cosine = -last, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:  # sin(angle) would be rounding alone
        mixed = (1 - fraction) * first + fraction * last
    else:
        mixed = (np.sin((1 - fraction) * angle) * first + np.sin(fraction * angle) * last) / np.sin(
            angle
        )
    return np.asarray(mixed / np.linalg.norm(mixed), np.float64)


def pose_matrix(
    translation: Sequence[float] | Matrix, quaternion: Sequence[float] | Matrix
) -> Matrix:
    """(3,) metres and unit (w, x, y, z) -> (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation_matrix(quaternion), translation
    return pose


def inverse(pose: Matrix) -> Matrix:
    """Invert a rigid (4, 4)."""
    found = np.eye(4)
    found[:3, :3] = pose[:3, :3].T
    found[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return found


def mounting(numbers: Sequence[float]) -> Matrix:
    """(4, 4) pose of a camera's optical frame in the base frame.

    Args:
        numbers: x, y, z in metres and roll, pitch, yaw in degrees of the camera's body (x forward,
            y left, z up) in the base frame; positive pitch looks down.
    """
    x, y, z, roll, pitch, yaw = (float(number) for number in numbers)
    half = np.radians([roll, pitch, yaw]) / 2
    (cr, cp, cy), (sr, sp, sy) = np.cos(half), np.sin(half)
    quaternion = [
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    ]
    return pose_matrix([x, y, z], quaternion) @ OPTICAL_IN_BODY
