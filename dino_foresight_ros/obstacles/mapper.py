"""Forecasts of several cameras as obstacles, grids and time to contact. Arrays alone, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles.cloud import ObstaclePoints
from dino_foresight_ros.obstacles.footprint import Footprint
from dino_foresight_ros.obstacles.grid import Cells, GridSpec, smeared
from dino_foresight_ros.obstacles.options import ObstacleOptions
from dino_foresight_ros.obstacles.points import SplitScene, kinds_of_maps, split_scenes
from dino_foresight_ros.obstacles.sweep import MIN_POINTS, Sweep, sweep
from dino_foresight_ros.obstacles.thinning import cell_of, thinned
from dino_foresight_ros.obstacles.view import GroundView
from dino_foresight_ros.planar_motion import pose_of
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene

_STEEP = np.sin(np.radians(60))
_SAME_INSTANT_S = 1e-3
"""Horizons are float32 in messages."""

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
    """What one camera's forecast says, in the base frame of one instant.

    Attributes:
        stamp_ns: the instant; that of the newest frame until it is brought to another.
        horizons_s: of each step, from that instant.
        points, views: of each step.
        tilt_deg: greatest tilt of the fitted ground; NaN where none was fitted.
        ground_share: of the known pixels.
        floor_scale: of the first step that tells it, see `SplitScene`; NaN where none does.
    """

    stamp_ns: int
    horizons_s: tuple[float, ...]
    points: tuple[ObstaclePoints, ...]
    views: tuple[GroundView, ...]
    tilt_deg: float
    ground_share: float
    floor_scale: float

    def at(self, stamp_ns: int, motion: Sequence[float] | Matrix) -> CameraObstacles:
        """The same, in the base frame of another instant.

        Args:
            stamp_ns: the other instant.
            motion: (3,) x, y, yaw of the base of `self.stamp_ns` in the base of that instant.
        """
        later_s = (stamp_ns - self.stamp_ns) / 1e9
        pose = pose_of(motion)
        return replace(
            self,
            stamp_ns=stamp_ns,
            horizons_s=tuple(horizon - later_s for horizon in self.horizons_s),
            points=tuple(some.moved(motion) for some in self.points),
            views=tuple(
                replace(view, fixed_from_optical=pose @ view.fixed_from_optical)
                for view in self.views
            ),
        )

    def step_at(self, horizon_s: float, within_s: float) -> int | None:
        """The step, counted from 0, whose instant is nearest to one; None where none is so near."""
        off_s = [abs(one - horizon_s) for one in self.horizons_s]
        nearest = int(np.argmin(off_s))
        return nearest if off_s[nearest] <= within_s + _SAME_INSTANT_S else None


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
        InputError: no metric depth, maps of different sizes, horizons that do not rise from 0 on,
            or a step of which no pixel is known.
    """
    horizons_s = tuple(float(scene.horizon_s) for scene in scenes)
    _check_horizons(horizons_s)
    splits: list[SplitScene] = []
    for (size, *_), alike in groupby(scenes, kinds_of_maps):
        rays = camera.rays(size or (0, 0))
        splits += split_scenes(list(alike), rays, camera.base_from_optical, options)
    points, views, tilts, scales, ground, known = [], [], [], [], 0, 0
    for split, pose, horizon_s in zip(splits, poses, horizons_s, strict=True):
        depth = split.depth
        if not ((depth > 0) & np.isfinite(camera.rays(depth.shape)[..., 0])).any():
            raise InputError(
                f"no pixel of the step {horizon_s:g} s ahead is known: what is there is not "
                "free because nothing is seen"
            )
        found = split.obstacles
        if least_probability > 0:
            found = found.where(found.probability >= least_probability)
        points.append(found.moved(pose))
        views.append(GroundView(camera.view, pose_of(pose) @ camera.base_from_optical, depth))
        tilts.append(split.plane.tilt_deg if split.plane.is_fitted else np.nan)
        scales.append(split.floor_scale)
        of_ground = int(np.count_nonzero(split.is_ground))
        ground += of_ground
        known += of_ground + len(split.obstacles)
    tilt = float(np.nanmax(tilts)) if np.isfinite(tilts).any() else float("nan")
    return CameraObstacles(
        stamp_ns,
        horizons_s,
        tuple(points),
        tuple(views),
        tilt,
        ground / max(known, 1),
        next((scale for scale in scales if np.isfinite(scale)), float("nan")),
    )


def _check_horizons(horizons_s: Sequence[float]) -> None:
    if not horizons_s:
        raise InputError("the forecast has no steps")
    # Written so that a NaN is refused, too.
    rise = all(after > before for before, after in pairwise(horizons_s))
    if not (rise and horizons_s[0] >= 0 and horizons_s[-1] < float("inf")):
        text = ", ".join(f"{horizon:g}" for horizon in horizons_s)
        raise InputError(f"horizons of the forecast are {text} s; they must rise from 0 on")


class ObstacleMap:
    """What all cameras see together, computed as far as it is asked for.

    Attributes:
        stamp_ns: the instant in whose base frame everything is.
        horizons_s: of each step, from that instant.
        points: of each step.
    """

    def __init__(
        self,
        cameras: Iterable[CameraObstacles],
        grid: GridSpec,
        floor_m: float,
        within_s: float = 0.0,
    ) -> None:
        """Join cameras.

        Args:
            cameras: one or more, all of one instant (`CameraObstacles.at`). The first has the
                steps; of the others those are taken whose instants are nearest to its.
            grid: around the base.
            floor_m: height of the floor in the base frame.
            within_s: steps of others that are farther off in time are left out.
        """
        first, *others = cameras
        self._grid, self._floor_m = grid, floor_m
        self.stamp_ns, self.horizons_s = first.stamp_ns, first.horizons_s
        self.points: list[ObstaclePoints] = []
        self.views: list[list[GroundView]] = []
        for step, horizon_s in enumerate(self.horizons_s):
            near = [(one, one.step_at(horizon_s, within_s)) for one in others]
            seen = [(first, step)] + [(one, k) for one, k in near if k is not None]
            self.points.append(ObstaclePoints.joined([one.points[k] for one, k in seen]))
            self.views.append([one.views[k] for one, k in seen])
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

    def ahead(self, step: int, footprint: Footprint, probability: float) -> float:
        """Metres from the base's origin to what the footprint meets straight ahead at one step.

        The rule of a contact is that of `contact`. Infinity where nothing is met.
        """
        points = thinned(self.points[step], cell_of(footprint.radius_m))
        x, y = points.xyz[points.probability >= probability, :2].T
        side_m = float(np.abs(footprint.corners[:, 1]).max()) + footprint.padding_m
        x = np.sort(x[(x > 0) & (np.abs(y) <= side_m)])
        return float(x[MIN_POINTS - 1]) if len(x) >= MIN_POINTS else float("inf")
