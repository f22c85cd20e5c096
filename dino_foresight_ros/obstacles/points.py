"""A view's depth and classes as obstacle points in the robot's base frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.options import ObstacleOptions
from dino_foresight_ros.obstacles.plane import GroundPlane, fit_grounds
from dino_foresight_ros.obstacles.rows import PointRows
from dino_foresight_ros.obstacles.standing import FLAT_M, Maps, standing_depth
from dino_foresight_ros.outputs import CONFIDENCE, SEGMENTATION, SPREAD
from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.scene import Scene

GROUND_CLASS_PROBABILITY = 0.5
"""Of a point whose class says ground and whose place says obstacle."""
_SKYLINE = 1 / 80
"""Share of the picture's width beside the sky, in which depths that blend into it are found."""
_BLENDED = 1.1
"""Such a depth is so many times the least around it."""

Pose = NDArray[np.float64]


class SplitScene(NamedTuple):
    """A view taken apart.

    Attributes:
        obstacles: points of obstacles.
        ground: (M, 3) float32 points of the ground, base frame.
        plane: of the ground.
        pixels: (N,) of each obstacle point, counted along the rows of the depth.
        depth: (H, W) float32 metres at which everything was placed; infinity in the sky, which
            hides nothing of the ground.
        floor_scale: the factor that brings the ground to the floor, whether it was believed or not
            (`GroundPlane.scale_to_floor`).
    """

    obstacles: ObstaclePoints
    ground: NDArray[np.float32]
    plane: GroundPlane
    pixels: NDArray[np.intp]
    depth: NDArray[np.float32]
    floor_scale: float


class _Split(NamedTuple):
    """As `SplitScene`, of several views."""

    obstacles: PointRows
    ground: PointRows
    planes: list[GroundPlane]
    pixels: NDArray[np.intp]
    depth: NDArray[np.float32]
    floor_scales: NDArray[np.float32]


def obstacle_points(
    scene: Scene,
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> ObstaclePoints:
    """The obstacles of a view, without ground, sky and what is above the robot.

    Args:
        scene: with metric depth; segmentation, confidence and spread where there are.
        rays: (H, W, 3) float32 through the pixels of the depth (`CameraView.pixel_rays`); NaN
            where the lens sees nothing.
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
    found = _split([scene], rays, base_from_optical, options)
    return SplitScene(
        found.obstacles.points,
        found.ground.points.xyz,
        found.planes[0],
        found.pixels,
        found.depth[0],
        float(found.floor_scales[0]),
    )


def obstacle_rows(
    scenes: Sequence[Scene],
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> tuple[PointRows, NDArray[np.float32]]:
    """As `obstacle_points`, of several views of one camera, which hold the same kinds of maps.

    Returns:
        The points, and depth (K, H, W) as `SplitScene` has it.
    """
    found = _split(scenes, rays, base_from_optical, options)
    return found.obstacles, found.depth


def _split(
    scenes: Sequence[Scene],
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> _Split:
    depth: Maps = np.stack([_metric_depth(scene, rays) for scene in scenes])
    is_known = np.isfinite(depth) & (depth > 0) & np.isfinite(rays[..., 0])
    ids = _stacked(scenes, SEGMENTATION)
    if ids is not None and options.sky_ids:
        is_known &= ~lookup(options.sky_ids)[ids]
    for of_scene, known in zip(depth, is_known, strict=True):
        known &= ~_flying(of_scene, known)
    every = np.flatnonzero(is_known)
    row, pixel = np.divmod(every, rays[..., 0].size)
    rotation = base_from_optical[:3, :3].astype(np.float32)
    place = base_from_optical[:3, 3].astype(np.float32)
    directions = rays @ rotation.T
    xyz = np.take(directions.reshape(-1, 3), pixel, axis=0)
    xyz *= depth.reshape(-1)[every, None]
    xyz += place
    classes = np.full(len(xyz), UNLABELLED, np.uint8)
    if ids is not None:
        classes[:] = ids.reshape(-1)[every]
    is_ground_class = lookup(options.ground_ids)[classes]
    told: slice | NDArray[np.intp] = slice(None)
    if ids is not None and options.ground_ids:
        told = np.flatnonzero(is_ground_class)
    planes = fit_grounds(
        xyz[told], row[told], len(scenes), options.ground_z_m, options.max_tilt_deg
    )
    floor_m = options.ground_z_m
    found = np.array([plane.scale_to_floor(place, floor_m) for plane in planes], np.float32)
    is_scaled = options.believes_scale(found)
    scales = np.where(is_scaled, found, np.float32(1))
    if is_scaled.any():
        xyz = place + (xyz - place) * scales[row][:, None]
        planes = [
            plane.on_floor(floor_m) if scaled else plane
            for plane, scaled in zip(planes, is_scaled, strict=True)
        ]
    height = _heights(xyz, row, planes)
    depth = depth * scales[:, None, None]
    if ids is not None:
        stands = _scattered(~is_ground_class, every, depth.shape)
        is_flat = _scattered(np.abs(height) < FLAT_M, every, depth.shape)
        at_most = standing_depth(
            depth, ids, stands, is_flat, directions, base_from_optical, planes,
            options.contact_range_m,
        )  # fmt: skip
        nearer = at_most.reshape(-1)[every] / depth.reshape(-1)[every]
        moved = np.flatnonzero(nearer < 1)
        xyz[moved] = place + (xyz[moved] - place) * nearer[moved, None]
        height[moved] = _heights(xyz[moved], row[moved], planes)
        depth = at_most
    reach = np.hypot(xyz[:, 0], xyz[:, 1])
    low, high = np.float32(options.min_height_m), np.float32(options.ground_height_m)
    limit = np.where(is_ground_class, high, low)
    limit += np.float32(options.height_per_m) * reach
    is_low = height < limit
    is_kept = ~is_low & (height <= options.max_height_m) & (reach <= options.max_range_m)
    kept, ground = np.flatnonzero(is_kept), np.flatnonzero(is_low)
    probability = _probability(scenes, every[kept], options)
    probability[is_ground_class[kept]] = GROUND_CLASS_PROBABILITY
    obstacles = ObstaclePoints(np.take(xyz, kept, axis=0), classes[kept], probability)
    none = np.zeros(len(ground), np.float32)
    low_points = ObstaclePoints(np.take(xyz, ground, axis=0), classes[ground], none)
    count = len(scenes)
    if ids is not None and options.sky_ids:
        depth = np.where(lookup(options.sky_ids)[ids], np.float32(np.inf), depth)
    return _Split(
        PointRows.by_row(obstacles, row[kept], count),
        PointRows.by_row(low_points, row[ground], count),
        planes,
        pixel[kept],
        depth,
        found,
    )


def _heights(
    xyz: NDArray[np.float32], row: NDArray[np.intp], planes: Sequence[GroundPlane]
) -> NDArray[np.float32]:
    """Metres of points (N, 3) above the plane of each one's row, (N,); rows rise."""
    starts = np.searchsorted(row, np.arange(len(planes) + 1))
    found = np.empty(len(xyz), np.float32)
    for plane, (begin, end) in zip(planes, pairwise(starts), strict=True):
        found[begin:end] = plane.above(xyz[begin:end])
    return found


def _scattered(
    values: NDArray[np.bool_], every: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Maps of values at the pixels `every`, False elsewhere."""
    found = np.zeros(shape, bool)
    found.reshape(-1)[every] = values
    return found


def _flying(depth: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where (H, W) a depth beside the sky, or beside what is unknown, blends into it.

    Bins of depth that are averaged over an edge give points that hang between an obstacle and the
    sky behind it.
    """
    reach = max(1, round(depth.shape[1] * _SKYLINE))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    nearest = cv2.erode(np.where(known, depth, np.float32(np.inf)), around)
    beside = cv2.dilate((~known).view(np.uint8), around).view(bool)
    found: NDArray[np.bool_] = beside & (depth / np.float32(_BLENDED) > nearest)
    return found


def _stacked(scenes: Sequence[Scene], name: str) -> NDArray[np.generic] | None:
    """(K, H, W) of a map of all scenes; None where they have none."""
    values = [getattr(scene, name) for scene in scenes]
    return None if values[0] is None else np.stack(values)


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
    for name in (SEGMENTATION, CONFIDENCE, SPREAD):
        values = getattr(scene, name)
        if values is not None and values.shape != shape:
            raise InputError(
                f"{name} is {values.shape[1]}x{values.shape[0]}, the depth {shape[1]}x{shape[0]}"
            )
    return scene.depth


def _probability(
    scenes: Sequence[Scene], pixels: NDArray[np.intp], options: ObstacleOptions
) -> NDArray[np.float32]:
    """Confidence of the class, less where several futures differ; 1 where neither is known.

    Args:
        scenes: of views.
        pixels: counted through all of them.
    """
    found = np.ones(len(pixels), np.float32)
    confidence, spread = _stacked(scenes, CONFIDENCE), _stacked(scenes, SPREAD)
    if confidence is not None:
        found = np.clip(np.nan_to_num(confidence.reshape(-1)[pixels]), 0, 1).astype(np.float32)
    if spread is not None and options.spread_half > 0:
        differing = np.nan_to_num(spread.reshape(-1)[pixels])
        found = found / (1 + differing / np.float32(options.spread_half))
    return found


def lookup(ids: Sequence[int]) -> NDArray[np.bool_]:
    """(256,) whether a class id is one of these."""
    table = np.zeros(256, bool)
    table[list(ids)] = True
    return table
