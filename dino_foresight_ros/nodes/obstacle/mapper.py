"""Forecasts of several cameras as obstacles, grids and time to contact. Arrays alone, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.obstacles import (
    Footprint,
    GridSpec,
    GroundView,
    ObstacleOptions,
    ObstaclePoints,
    Sweep,
    cell_of,
    depth_to_sky,
    smeared,
    split_scene,
    sweep,
    thinned,
)
from dino_foresight_ros.obstacles.grid import Cells
from dino_foresight_ros.planar_motion import pose_of
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene

_STEEP = np.sin(np.radians(60))

Matrix = NDArray[np.float64]


class Camera:
    """One camera: its lens and its place on the robot."""

    def __init__(self, view: CameraView, base_from_optical: Matrix) -> None:
        self.view, self.base_from_optical = view, base_from_optical
        self._rays: dict[tuple[int, int], NDArray[np.float32]] = {}

    def rays(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """(H, W, 3), computed once for the newest size."""
        if size not in self._rays:
            self._rays = {size: self.view.pixel_rays(size)}
        return self._rays[size]

    def mounting_problem(self, floor_m: float) -> str | None:
        """What is odd about the place and turn of the camera, for people; None where nothing is."""
        rotation, height = self.base_from_optical[:3, :3], float(self.base_from_optical[2, 3])
        if height <= floor_m:
            return f"the camera is {floor_m - height:.2f} m below the floor: check its extrinsics"
        if rotation[2, 2] > _STEEP:
            return "the camera looks at the sky: nothing of the floor is seen"
        if rotation[2, 2] < -_STEEP:
            return "the camera looks at the floor: obstacles ahead are not seen"
        if rotation[2, 1] > 0.5:
            return "the camera hangs upside down: right only if its pictures are so, too"
        return None


@dataclass(frozen=True)
class CameraObstacles:
    """What one camera's forecast says, in the base frame of its newest frame.

    Attributes:
        stamp_ns: of the newest frame.
        horizons_s: of each step.
        points, views: of each step.
        tilt_deg: greatest tilt of the fitted ground; NaN where none was fitted.
        ground_share: of the known pixels.
    """

    stamp_ns: int
    horizons_s: tuple[float, ...]
    points: tuple[ObstaclePoints, ...]
    views: tuple[GroundView, ...]
    tilt_deg: float
    ground_share: float


def obstacles_of(
    scenes: Sequence[Scene],
    stamp_ns: int,
    camera: Camera,
    poses: Matrix,
    options: ObstacleOptions,
    least_probability: float = 0.0,
) -> CameraObstacles:
    """Take one camera's forecast apart.

    Args:
        scenes: one per step, with metric depth.
        stamp_ns: of the newest frame.
        camera: that saw it.
        poses: (S, 3) x, y, yaw of the base at each step's instant, in the base of now.
        options: what is an obstacle.
        least_probability: less probable points are left out.

    Raises:
        InputError: no metric depth, or maps of different sizes.
    """
    points, views, tilts, ground, known = [], [], [], 0, 0
    for scene, pose in zip(scenes, poses, strict=True):
        size = (0, 0) if scene.depth is None else (scene.depth.shape[0], scene.depth.shape[1])
        split = split_scene(scene, camera.rays(size), camera.base_from_optical, options)
        found = split.obstacles
        if least_probability > 0:
            found = found.where(found.probability >= least_probability)
        points.append(found.moved(pose))
        views.append(GroundView(camera.view, pose_of(pose) @ camera.base_from_optical,
                                depth_to_sky(scene, options)))  # fmt: skip
        tilts.append(split.plane.tilt_deg if split.plane.is_fitted else np.nan)
        ground += len(split.ground)
        known += len(split.ground) + len(split.obstacles)
    tilt = float(np.nanmax(tilts)) if np.isfinite(tilts).any() else float("nan")
    horizons = tuple(float(scene.horizon_s) for scene in scenes)
    return CameraObstacles(
        stamp_ns, horizons, tuple(points), tuple(views), tilt, ground / max(known, 1)
    )


class ObstacleMap:
    """What all cameras see together, computed as far as it is asked for.

    Attributes:
        horizons_s: of each step, from the newest frame.
        points: of each step, in the base frame of the newest frame.
    """

    def __init__(self, cameras: Iterable[CameraObstacles], grid: GridSpec, floor_m: float) -> None:
        """Join cameras of about the same stamp; steps that one lacks are the others'."""
        every = sorted(cameras, key=lambda one: -one.stamp_ns)
        self._grid, self._floor_m = grid, floor_m
        self.horizons_s = max((one.horizons_s for one in every), key=len)
        steps = range(len(self.horizons_s))
        self.points = [
            ObstaclePoints.joined([one.points[k] for one in every if k < len(one.points)])
            for k in steps
        ]
        self.views = [[one.views[k] for one in every if k < len(one.views)] for k in steps]
        self._cells: dict[int, Cells] = {}

    def cells(self, step: int) -> Cells:
        """Occupancy (rows, columns) at one step, counted from 0."""
        if step not in self._cells:
            self._cells[step] = self._grid.occupancy(
                self.points[step], self.views[step], self._floor_m
            )
        return self._cells[step]

    def swept(self) -> Cells:
        """Occupancy at any of the steps."""
        return smeared([self.cells(step) for step in range(len(self.points))])

    def contact(self, poses: Matrix, footprint: Footprint, probability: float) -> Sweep:
        """What the footprint meets on a course, without what its camera does not see."""
        cell_m = cell_of(footprint.radius_m)
        points = [thinned(some, cell_m) for some in self.points]
        return sweep(points, poses, footprint, self.horizons_s, contact_probability=probability)
