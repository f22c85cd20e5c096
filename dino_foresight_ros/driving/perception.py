"""What a policy knows of the obstacles around it, now and at times to come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.driving.maneuvers import (
    KEEP,
    TIMES_S,
    Trajectory,
    control_of,
    trajectory_of,
)
from dino_foresight_ros.obstacles import ObstacleOptions, ObstaclePoints, obstacle_points, thinned
from dino_foresight_ros.obstacles.thinning import CELL_M
from dino_foresight_ros.planar_motion import motion_at
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.synthetic import Drive, Frame

_PER_SIDE = 12
"""Points along each side of an outline."""
POINTS_PER_CELL = 3
"""So many pixels within a cell of the ground make an obstacle: fewer are noise."""
OPTIONS = ObstacleOptions.of_classes([info.name for info in WORLD_CLASSES])


class Perception(ABC):
    """Looks at each frame, then tells what is around on a trajectory."""

    needs_picture = True

    @abstractmethod
    def see(self, drive: Drive, frame: Frame | None) -> None:
        """Take in the present; `frame` is None where `needs_picture` is False."""

    @abstractmethod
    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        """Obstacles at each of `TIMES_S` on a trajectory, in the base of now."""


class Sensor(Perception):
    """The true depth and classes of the camera's picture now, as if nothing moved: the best that
    looking at the present alone can do."""

    def __init__(self) -> None:
        self._rays: NDArray[np.float32] | None = None
        self.points = ObstaclePoints.none()

    def see(self, drive: Drive, frame: Frame | None) -> None:
        """Take the points of the frame's truth."""
        assert frame is not None
        if self._rays is None:
            size = (frame.depth.shape[0], frame.depth.shape[1])
            self._rays = CameraView.pinhole(frame.k, size).pixel_rays(size)
        scene = Scene(
            round(frame.stamp_s * 1e9),
            depth=frame.depth,
            segmentation=frame.segmentation,
            depth_is_metric=True,
        )
        pose = drive.world.base_from_optical
        self.points = without_noise(obstacle_points(scene, self._rays, pose, OPTIONS))

    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        """The same at all times."""
        return [self.points] * len(TIMES_S)


class HasPoints(Protocol):
    """A perception of the present."""

    points: ObstaclePoints

    def see(self, drive: Drive, frame: Frame | None) -> None:
        """As `Perception.see`."""


class CopyLast(Perception):
    """Another perception's present, expected to stay as it looks: it moves with the ego."""

    def __init__(self, present: HasPoints) -> None:
        self._present = present
        self._hold: Trajectory | None = None

    def see(self, drive: Drive, frame: Frame | None) -> None:
        """Look, and note how the ego will move when nothing changes."""
        self._present.see(drive, frame)
        self._hold = trajectory_of(drive, KEEP)

    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        """The present's points ahead of where the ego will be."""
        assert self._hold is not None
        return [self._present.points.moved(pose) for pose in self._hold.poses]


class Truth(Perception):
    """The world's own objects on each trajectory: what happens if, exactly. It sees through all."""

    needs_picture = False

    def see(self, drive: Drive, frame: Frame | None) -> None:
        """Take the drive, whose copies are driven ahead."""
        self._drive = drive.fork()

    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        """Outlines of the objects as they are at each time if the ego drives that trajectory."""
        ahead, now_s, found = self._drive.fork(), 0.0, []
        for time_s in TIMES_S:
            ahead.step(control_of(ahead, trajectory.maneuver), time_s - now_s)
            now_s = time_s
            found.append(outline_points(ahead, self._drive))
        return found


def without_noise(points: ObstaclePoints) -> ObstaclePoints:
    """One point of each cell of the ground in which `POINTS_PER_CELL` are, the most probable."""
    return thinned(points, CELL_M, least=POINTS_PER_CELL, kept=1)


def outline_points(drive: Drive, seen_from: Drive) -> ObstaclePoints:
    """Points along the outlines of all objects near the ego, in the base of another instant."""
    near = [
        one
        for one in drive.obstacles(25.0)
        if np.abs(one.outline[0] - drive.ego_xy).max() < 25.0 and len(one.outline) == 4
    ]
    if not near:
        return ObstaclePoints.none()
    starts = np.stack([one.outline for one in near])[:, :, None]  # (N, 4, 1, 2)
    ends = np.roll(starts, -1, axis=1)
    fractions = (np.arange(_PER_SIDE) / _PER_SIDE)[:, None]
    flat = seen_from.to_base((starts + fractions * (ends - starts)).reshape(-1, 2))
    xyz = np.column_stack([flat, np.full(len(flat), 0.5)]).astype(np.float32)
    classes = np.repeat(np.array([one.class_id for one in near], np.uint8), 4 * _PER_SIDE)
    return ObstaclePoints(xyz, classes, np.ones(len(xyz), np.float32))


def at_times(
    present: ObstaclePoints, steps: Sequence[ObstaclePoints], horizons_s: Sequence[float]
) -> list[ObstaclePoints]:
    """Points at each of `TIMES_S` from those at other horizons: of the nearest, and after the last
    one as if nothing moved any more."""
    known = [present, *steps]
    return [known[step] for step in steps_taken(horizons_s)]


def steps_taken(horizons_s: Sequence[float]) -> list[int]:
    """Which step stands for each of `TIMES_S`, the one of the nearest horizon; 0 is the present."""
    known = [0.0, *horizons_s]
    return [min(range(len(known)), key=lambda k: abs(known[k] - time_s)) for time_s in TIMES_S]


def motion_on(trajectory: Trajectory, horizons_s: Sequence[float]) -> NDArray[np.float64]:
    """Motion (S, 3) of the base on a trajectory until each of other horizons."""
    return np.stack([motion_at(trajectory.poses, np.asarray(TIMES_S), h) for h in horizons_s])
