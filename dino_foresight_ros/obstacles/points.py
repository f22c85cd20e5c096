"""A view's depth and classes as obstacle points in the robot's base frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles.options import ObstacleOptions
from dino_foresight_ros.obstacles.plane import GroundPlane, fit_ground
from dino_foresight_ros.scene import Scene

GROUND_CLASS_PROBABILITY = 0.5
"""Of a point whose class says ground and whose place says obstacle."""

Pose = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ObstaclePoints:
    """Points of obstacles.

    Attributes:
        xyz: (N, 3) float32 metres in the base frame (x forward, y left, z up).
        class_id: (N,) uint8 as in segmentation, 255 unknown.
        probability: (N,) float32 that an obstacle is there, 0 to 1.
    """

    xyz: NDArray[np.float32]
    class_id: NDArray[np.uint8]
    probability: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xyz)

    @classmethod
    def none(cls) -> ObstaclePoints:
        """No point at all."""
        return cls(np.empty((0, 3), np.float32), np.empty(0, np.uint8), np.empty(0, np.float32))

    @classmethod
    def joined(cls, parts: Sequence[ObstaclePoints]) -> ObstaclePoints:
        """The points of several cameras, in one frame, as one."""
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.xyz for part in parts]),
            np.concatenate([part.class_id for part in parts]),
            np.concatenate([part.probability for part in parts]),
        )

    def where(self, kept: NDArray[np.bool_]) -> ObstaclePoints:
        """Those of the points for which `kept` (N,) is true."""
        return ObstaclePoints(self.xyz[kept], self.class_id[kept], self.probability[kept])

    def moved(self, pose: Sequence[float] | NDArray[np.float64]) -> ObstaclePoints:
        """The points in the frame in which their base stands at `pose`.

        Args:
            pose: (3,) x, y in metres and yaw in rad of the base that the points refer to, in
                another one; such as the base at an instant to come, in the base of now.
        """
        x, y, yaw = (float(value) for value in pose)
        if x == y == yaw == 0.0:
            return self
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        xyz = self.xyz @ turn.T.astype(np.float32) + np.array([x, y, 0], np.float32)
        return ObstaclePoints(xyz, self.class_id, self.probability)


class SplitScene(NamedTuple):
    """A view taken apart.

    Attributes:
        obstacles: points of obstacles.
        ground: (M, 3) float32 points of the ground, base frame.
        plane: of the ground.
    """

    obstacles: ObstaclePoints
    ground: NDArray[np.float32]
    plane: GroundPlane


def obstacle_points(
    scene: Scene,
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> ObstaclePoints:
    """The obstacles of a view, without ground, sky and what is above the robot.

    Args:
        scene: with metric depth; segmentation, confidence and spread where there are.
        rays: (H, W, 3) float32 through the pixels of the depth, z = 1
            (`CameraView.pixel_rays`); NaN where the lens sees nothing.
        base_from_optical: (4, 4) pose of the camera's optical frame in the base frame.
        options: classes and limits.

    Returns:
        Points in the base frame of the scene's own instant.

    Raises:
        InputError: no metric depth, or maps and rays of different sizes.
    """
    return split_scene(scene, rays, base_from_optical, options).obstacles


def split_scene(
    scene: Scene,
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> SplitScene:
    """As `obstacle_points`, with the ground and its plane."""
    depth = _metric_depth(scene, rays)
    known = np.isfinite(depth) & (depth > 0) & np.isfinite(rays[..., 0])
    ids = scene.segmentation
    if ids is not None and options.sky_ids:
        known &= ~lookup(options.sky_ids)[ids]
    rotation = base_from_optical[:3, :3].astype(np.float32)
    place = base_from_optical[:3, 3].astype(np.float32)
    z = depth[known]
    xyz = (rays[known] * z[:, None]) @ rotation.T + place
    classes = np.full(len(z), UNLABELLED, np.uint8) if ids is None else ids[known]
    is_ground_class = lookup(options.ground_ids)[classes]
    candidates = xyz[is_ground_class] if ids is not None and options.ground_ids else xyz
    plane = fit_ground(candidates, options.ground_z_m, options.max_tilt_deg)
    reach = np.hypot(xyz[:, 0], xyz[:, 1])
    height = plane.above(xyz)
    low, high = np.float32(options.min_height_m), np.float32(options.ground_height_m)
    is_low = (
        height < np.where(is_ground_class, high, low) + np.float32(options.height_per_m) * reach
    )
    kept = ~is_low & (height <= options.max_height_m) & (reach <= options.max_range_m)
    probability = _probability(scene, known, kept, options)
    probability[is_ground_class[kept]] = GROUND_CLASS_PROBABILITY
    return SplitScene(ObstaclePoints(xyz[kept], classes[kept], probability), xyz[is_low], plane)


def _metric_depth(scene: Scene, rays: NDArray[np.float32]) -> NDArray[np.float32]:
    if scene.depth is None:
        raise InputError("no depth is forecast: obstacles need a bundle with a depth head")
    if not scene.depth_is_metric:
        raise InputError(
            "the depth is relative: obstacles need a bundle whose depth head gives metres"
        )
    shape = scene.depth.shape
    if rays.shape != (*shape, 3):
        raise InputError(
            f"rays are for {rays.shape[1]}x{rays.shape[0]}, the depth is {shape[1]}x{shape[0]}"
        )
    for name in ("segmentation", "confidence", "spread"):
        values = getattr(scene, name)
        if values is not None and values.shape != shape:
            raise InputError(
                f"{name} is {values.shape[1]}x{values.shape[0]}, the depth {shape[1]}x{shape[0]}"
            )
    return scene.depth


def _probability(
    scene: Scene,
    known: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    options: ObstacleOptions,
) -> NDArray[np.float32]:
    """Confidence of the class, less where several futures differ; 1 where neither is known."""
    count = int(np.count_nonzero(kept))
    found = np.ones(count, np.float32)
    if scene.confidence is not None:
        found = np.clip(np.nan_to_num(scene.confidence[known][kept]), 0, 1).astype(np.float32)
    if scene.spread is not None and options.spread_half > 0:
        spread = np.nan_to_num(scene.spread[known][kept])
        found = found / (1 + spread / np.float32(options.spread_half))
    return found


def lookup(ids: Sequence[int]) -> NDArray[np.bool_]:
    """(256,) whether a class id is one of these."""
    table = np.zeros(256, bool)
    table[list(ids)] = True
    return table


def depth_to_sky(scene: Scene, options: ObstacleOptions) -> NDArray[np.float32]:
    """A scene's depth (H, W), infinity in the sky, which hides nothing of the ground."""
    assert scene.depth is not None
    if scene.segmentation is None or not options.sky_ids:
        return scene.depth
    return np.where(lookup(options.sky_ids)[scene.segmentation], np.float32(np.inf), scene.depth)
