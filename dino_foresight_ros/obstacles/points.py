"""A view's depth and classes as obstacle points in the robot's base frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.options import ObstacleOptions
from dino_foresight_ros.obstacles.plane import MAX_TELLING, GroundPlane, at_most, fit_grounds
from dino_foresight_ros.obstacles.rows import PointRows
from dino_foresight_ros.obstacles.standing import FLAT_M, Maps, standing_depth
from dino_foresight_ros.outputs import CONFIDENCE, SEGMENTATION
from dino_foresight_ros.recordings.opencv import cv2
from dino_foresight_ros.scene import Scene

GROUND_CLASS_PROBABILITY = 0.5
"""Of a point whose class says ground and whose place says obstacle."""
_SKYLINE = 1 / 80
"""Share of the picture's width beside the sky, in which depths that blend into it are found."""
_BLENDED = 1.1
"""Such a depth is so many times the least around it."""
_OUTLINE, _SURE = 1 / 160, 0.9
"""Share of the picture's width by which outlines against the sky may be too wide, where their class
has less than this confidence."""

Pose = NDArray[np.float64]


class SplitScene(NamedTuple):
    """A view taken apart.

    Attributes:
        obstacles: points of obstacles.
        is_ground: (H, W) what lies on the ground.
        plane: of the ground.
        pixels: (N,) of each obstacle point, counted along the rows of the depth.
        depth: (H, W) float32 metres at which everything was placed; infinity in the sky, which
            hides nothing of the ground.
        floor_scale: the factor that brings the ground to the floor, whether it was believed or not
            (`GroundPlane.scale_to_floor`).
    """

    obstacles: ObstaclePoints
    is_ground: NDArray[np.bool_]
    plane: GroundPlane
    pixels: NDArray[np.intp]
    depth: NDArray[np.float32]
    floor_scale: float


def obstacle_points(
    scene: Scene,
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> ObstaclePoints:
    """The obstacles of a view, without ground, sky and what is above the robot.

    Args:
        scene: with metric depth; segmentation and confidence where there are.
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
    return split_scenes([scene], rays, base_from_optical, options)[0]


def split_scenes(
    scenes: Sequence[Scene],
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> list[SplitScene]:
    """As `split_scene`, of several views of one camera, which hold the same kinds of maps."""
    views = _split(scenes, rays, base_from_optical, options)
    ends = views.obstacles.starts.tolist()
    return [
        SplitScene(
            views.obstacles[k],
            views.is_ground[k],
            views.planes[k],
            views.pixels[ends[k] : ends[k + 1]],
            views.depth[k],
            float(views.floor_scales[k]),
        )
        for k in range(len(scenes))
    ]


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


def kinds_of_maps(scene: Scene) -> tuple[tuple[int, int] | None, ...]:
    """The sizes of depth, segmentation and confidence; None of what is missing."""
    maps = (scene.depth, scene.segmentation, scene.confidence)
    return tuple(None if values is None else (values.shape[0], values.shape[1]) for values in maps)


class _Split(NamedTuple):
    """As `SplitScene`, of K views: the points of all, and maps (K, H, W)."""

    obstacles: PointRows
    is_ground: NDArray[np.bool_]
    planes: list[GroundPlane]
    pixels: NDArray[np.intp]
    depth: Maps
    floor_scales: NDArray[np.float32]


class _Lens(NamedTuple):
    """The rays of a camera in the base frame: directions (H, W, 3), 1 along its optical axis."""

    directions: Maps
    base_from_optical: Pose

    @property
    def place(self) -> NDArray[np.float32]:
        """(3,) of the camera."""
        return self.base_from_optical[:3, 3].astype(np.float32)

    def heights(self, depth: Maps, planes: Sequence[GroundPlane]) -> Maps:
        """Metres (K, H, W) above each view's plane at these depths."""
        normals = np.stack([plane.normal for plane in planes])
        per_m = np.stack([self.directions @ normal[:3] for normal in normals])
        of_camera = normals[:, :3] @ self.place - normals[:, 3]
        found: Maps = depth * per_m + of_camera[:, None, None]
        return found

    def reaches(self, depth: Maps) -> Maps:
        """Metres (K, H, W) along the floor from the origin of the base frame."""
        x = depth * self.directions[..., 0] + self.place[0]
        y = depth * self.directions[..., 1] + self.place[1]
        return np.sqrt(x * x + y * y)

    def points(self, depth: Maps, every: NDArray[np.intp]) -> NDArray[np.float32]:
        """Points (N, 3) at pixels (N,) that are counted through all views."""
        pixel = every % self.directions[..., 0].size
        found = np.take(self.directions.reshape(-1, 3), pixel, axis=0)
        found *= depth.reshape(-1)[every, None]
        found += self.place
        return found


def _split(
    scenes: Sequence[Scene],
    rays: NDArray[np.float32],
    base_from_optical: Pose,
    options: ObstacleOptions,
) -> _Split:
    depth: Maps = np.stack([_metric_depth(scene, rays) for scene in scenes])
    ids = _stacked(scenes, SEGMENTATION)
    is_sky = _is_of(ids, options.sky_ids, depth.shape)
    is_ground_class = _is_of(ids, options.ground_ids, depth.shape)
    is_known = _known(scenes, depth, is_sky, np.isfinite(rays[..., 0]))
    lens = _Lens(rays @ base_from_optical[:3, :3].T.astype(np.float32), base_from_optical)
    can_tell = is_known
    if ids is not None and options.ground_ids:
        can_tell = is_known & is_ground_class
    # Depths that are not known stay what they are, infinite ones too.
    with np.errstate(invalid="ignore", over="ignore"):
        planes, found_scales, scales = _grounds(depth, can_tell, lens, options)
        depth = depth * scales[:, None, None]
        height = lens.heights(depth, planes)
        if ids is not None:
            stands = is_known & ~is_ground_class
            is_flat = is_known & (np.abs(height) < FLAT_M)
            depth = standing_depth(
                depth, ids, stands, is_flat, lens.directions, base_from_optical, planes,
                options.contact_range_m,
            )  # fmt: skip
            height = lens.heights(depth, planes)
        reach = lens.reaches(depth)
    low, high = np.float32(options.min_height_m), np.float32(options.ground_height_m)
    limit = np.where(is_ground_class, high, low)
    limit += np.float32(options.height_per_m) * reach
    is_ground = is_known & (height < limit)
    is_kept = is_known & (height >= limit)
    is_kept &= (height <= options.max_height_m) & (reach <= options.max_range_m)
    kept = np.flatnonzero(is_kept)
    row, pixels = np.divmod(kept, rays[..., 0].size)
    classes = np.full(len(kept), UNLABELLED, np.uint8)
    if ids is not None:
        classes[:] = ids.reshape(-1)[kept]
    probability = _probability(scenes, kept)
    probability[is_ground_class.reshape(-1)[kept]] = GROUND_CLASS_PROBABILITY
    obstacles = ObstaclePoints(lens.points(depth, kept), classes, probability)
    return _Split(
        PointRows.by_row(obstacles, row, len(scenes)),
        is_ground,
        planes,
        pixels,
        np.where(is_sky, np.float32(np.inf), depth),
        found_scales,
    )


def _grounds(
    depth: Maps, can_tell: NDArray[np.bool_], lens: _Lens, options: ObstacleOptions
) -> tuple[list[GroundPlane], NDArray[np.float32], NDArray[np.float32]]:
    """The ground of each view, and the scale of its depth.

    Args:
        depth: (K, H, W) as predicted.
        can_tell: (K, H, W) the pixels that may be ground.
        lens: that sees it.
        options: where the floor is.

    Returns:
        The planes at the right scale; the factors (K,) that bring them to the floor, NaN unknown;
        and those by which depths are scaled, 1 where they are not believed.
    """
    count, floor_m = len(depth), options.ground_z_m
    told = np.flatnonzero(can_tell)
    row = told // depth[0].size
    some = at_most(MAX_TELLING, row, count)
    told, row = told[some], row[some]
    planes = fit_grounds(lens.points(depth, told), row, count, floor_m, options.max_tilt_deg)
    found = np.array([plane.scale_to_floor(lens.place, floor_m) for plane in planes], np.float32)
    is_scaled = options.believes_scale(found)
    planes = [
        plane.on_floor(floor_m) if scaled else plane
        for plane, scaled in zip(planes, is_scaled, strict=True)
    ]
    return planes, found, np.where(is_scaled, found, np.float32(1))


def _known(
    scenes: Sequence[Scene], depth: Maps, is_sky: NDArray[np.bool_], has_ray: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Where (K, H, W) a depth is one of something, not of the sky or of an edge before it.

    Pixels (H, W) that have no ray are none.
    """
    found: NDArray[np.bool_] = np.isfinite(depth) & (depth > 0) & ~is_sky & has_ray
    for view, scene in enumerate(scenes):
        found[view] &= ~_flying(depth[view], found[view])
        found[view] &= ~_outline(is_sky[view], scene.confidence)
    return found


def _flying(depth: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where (H, W) a depth beside the sky, or beside what is unknown, blends into it.

    Bins of depth that are averaged over an edge give points that hang between an obstacle and the
    sky behind it.
    """
    reach = max(1, round(depth.shape[1] * _SKYLINE))
    nearest = cv2.erode(np.where(known, depth, np.float32(np.inf)), _square(reach))
    beside = _grown(~known, reach)
    found: NDArray[np.bool_] = beside & (depth / np.float32(_BLENDED) > nearest)
    return found


def _outline(
    is_sky: NDArray[np.bool_], confidence: NDArray[np.float32] | None
) -> NDArray[np.bool_]:
    """Where (H, W) the outline of something before the sky may itself be sky: classes blur it.

    What is so thin that it is nothing but outline, such as a pole, is none of it.
    """
    reach = round(is_sky.shape[1] * _OUTLINE)
    if reach == 0 or confidence is None:
        return np.zeros(is_sky.shape, bool)
    beside = _grown(is_sky, reach)
    found: NDArray[np.bool_] = beside & ~is_sky & (confidence < np.float32(_SURE))
    found &= _grown(~beside, reach)
    return found


def _grown(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """The mask (H, W), and what is so many pixels beside it."""
    return cv2.dilate(mask.view(np.uint8), _square(reach)).view(bool)


def _square(reach: int) -> NDArray[np.uint8]:
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _is_of(
    ids: NDArray[np.generic] | None, wanted: Sequence[int], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Where classes are among these; nowhere without classes."""
    if ids is None or not wanted:
        return np.zeros(shape, bool)
    return lookup(wanted)[ids]


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
    for name in (SEGMENTATION, CONFIDENCE):
        values = getattr(scene, name)
        if values is not None and values.shape != shape:
            raise InputError(
                f"{name} is {values.shape[1]}x{values.shape[0]}, the depth {shape[1]}x{shape[0]}"
            )
    return scene.depth


def _probability(scenes: Sequence[Scene], pixels: NDArray[np.intp]) -> NDArray[np.float32]:
    """Confidence of the class, which of several futures is the share that agrees; 1 if unknown.

    Args:
        scenes: of views.
        pixels: counted through all of them.
    """
    confidence = _stacked(scenes, CONFIDENCE)
    if confidence is None:
        return np.ones(len(pixels), np.float32)
    return np.clip(np.nan_to_num(confidence.reshape(-1)[pixels]), 0, 1).astype(np.float32)


def lookup(ids: Sequence[int]) -> NDArray[np.bool_]:
    """(256,) whether a class id is one of these."""
    table = np.zeros(256, bool)
    table[list(ids)] = True
    return table
