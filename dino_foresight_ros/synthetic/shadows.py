"""Shadows on the ground: outlines made from points of what casts them."""

from __future__ import annotations

import cv2
import numpy as np

from dino_foresight_ros.synthetic.faces import Array
from dino_foresight_ros.synthetic.light import Light

SHADOW_CORNERS = 12

_CASTER = np.vstack(
    [
        np.hstack([np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * fraction, np.full((4, 1), z)])
        for fraction, z in ((0.5, 0.0), (0.5, 0.55), (0.35, 1.0))
    ]
)


def vehicle_caster(at: Array, yaw: float, length: float, width: float, height: float) -> Array:
    """Points (12, 3) whose shadows' hull is a vehicle's shadow."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c * length, s * length, 0], [-s * width, c * width, 0], [0, 0, height]])
    return _CASTER @ turn + (at[0], at[1], 0.0)


def shadow_outline(points: Array, light: Light) -> Array:
    """Outline (SHADOW_CORNERS, 3) on the ground of the shadow of `points` (V, 3)."""
    slope = light.to_sun[:2] / light.to_sun[2]
    flat = points[:, :2] - points[:, 2:] * slope
    middle = flat.mean(axis=0)  # keeps single precision exact enough far from the origin
    hull = cv2.convexHull((flat - middle).astype(np.float32))[:SHADOW_CORNERS, 0] + middle
    out = np.zeros((SHADOW_CORNERS, 3))
    out[: len(hull), :2] = hull
    out[len(hull) :, :2] = hull[-1]
    return out
