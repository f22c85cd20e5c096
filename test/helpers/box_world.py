"""A floor with boxes, seen by a camera at any place and turn: depth and classes by ray casting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.scene import Scene

ROAD, SKY, CAR, PEDESTRIAN, BUILDING, SIDEWALK = (
    CLASS_IDS[name] for name in ("road", "sky", "car", "pedestrian", "building", "sidewalk")
)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """Corners low and high in the base frame, metres, and its class."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    class_id: int = CAR


def optical_pose(
    x: float = 0.0,
    y: float = 0.0,
    z: float = 1.5,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
) -> Array:
    """base_from_optical of a camera; positive pitch looks down, positive roll leans right."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    about_y = np.array(
        [[np.cos(pitch), 0, np.sin(pitch)], [0, 1.0, 0], [-np.sin(pitch), 0, np.cos(pitch)]]
    )
    about_x = np.array(
        [[1.0, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]]
    )
    body_from_optical = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose = np.eye(4)
    pose[:3, :3] = about_z @ about_y @ about_x @ body_from_optical
    pose[:3, 3] = x, y, z
    return pose


def see(rays: NDArray[np.float32], pose: Array, boxes: list[Box], floor_m: float = 0.0) -> Scene:
    """What a camera with these rays (H, W, 3) at `pose` sees; NaN depth in the sky."""
    directions = rays.reshape(-1, 3).astype(np.float64) @ pose[:3, :3].T
    start = pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = (floor_m - start[2]) / directions[:, 2]
        classes = np.full(len(directions), ROAD, np.uint8)
        depth[~(depth > 0)] = np.inf
        for box in boxes:
            first = (np.array(box.low) - start) / directions
            second = (np.array(box.high) - start) / directions
            enter = np.fmax.reduce(np.minimum(first, second), axis=1)
            leave = np.fmin.reduce(np.maximum(first, second), axis=1)
            hit = (enter <= leave) & (enter > 0) & (enter < depth)
            depth[hit], classes[hit] = enter[hit], box.class_id
    classes[np.isinf(depth)] = SKY
    depth[np.isinf(depth)] = np.nan
    shape = rays.shape[:2]
    return Scene(
        0,
        segmentation=classes.reshape(shape),
        confidence=np.ones(shape, np.float32),
        depth=depth.reshape(shape).astype(np.float32),
        depth_is_metric=True,
    )
