"""Perceptions by a bundle: the present as its heads read it, and its forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.driving.maneuvers import KEEP, Trajectory, ego_footprint, trajectory_of
from dino_foresight_ros.driving.perception import (
    Perception,
    at_times,
    motion_on,
    steps_taken,
    without_noise,
)
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.dpt import UPSCALE
from dino_foresight_ros.model.tasks import DepthTask, SegmentationTask
from dino_foresight_ros.obstacles import ObstacleOptions, ObstaclePoints, obstacle_points
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, SEGMENTATION
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.runtime.imagination import Imagination, answer_of
from dino_foresight_ros.runtime.imagined import ImagineOptions, Mount
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.synthetic import Drive, Frame

HORIZONS_S = (0.2, 0.4, 0.6, 0.8, 1.0)
_PROBABILITY = 0.5
"""Less probable points are no obstacles. Of forecasts, 0.1 gave the same stops on held-back worlds:
what spreads loses its class altogether."""
_WANTED = frozenset((SEGMENTATION, CONFIDENCE, DEPTH))


class Foreseen(Perception):
    """A bundle's forecasts, which foresee the ego going on as it does.

    Attributes:
        horizons_s: of the forecasts.
        interval_s: between frames, as the bundle was trained.
        points: obstacles now, in the base of now; none where they are not read.
        steps: those at each horizon, in the base of now.
    """

    uses_forecasts = True

    def __init__(
        self,
        bundle: Bundle,
        horizons_s: Sequence[float] = HORIZONS_S,
        reads_present: bool = False,
    ) -> None:
        """Take a bundle with heads for segmentation and metric depth.

        Args:
            bundle: whose forecasts and heads are used.
            horizons_s: of the forecasts.
            reads_present: read the present too, also where all of `TIMES_S` are nearer to a
                horizon.

        Raises:
            UsageError: it lacks one of them, or cannot answer the horizons.
        """
        depth, classes = bundle.tasks.get(DEPTH), bundle.tasks.get(SEGMENTATION)
        if not isinstance(depth, DepthTask) or not depth.is_metric:
            raise UsageError(f"bundle {bundle.name} has no metric depth head, which driving needs")
        if not isinstance(classes, SegmentationTask):
            raise UsageError(f"bundle {bundle.name} has no segmentation head, which driving needs")
        self.horizons_s = tuple(horizons_s)
        self._options = ObstacleOptions.of_classes(classes.class_names)
        read = [*range(1, len(self.horizons_s) + 1)] if self.uses_forecasts else []
        if reads_present or 0 in steps_taken(self.horizons_s):
            read.append(0)
        outputs = dict.fromkeys(read, _WANTED)
        self._engine = Foresight(bundle, horizons_s=self.horizons_s, outputs=outputs)
        self.interval_s = bundle.frame_interval_s
        self._size = (UPSCALE * bundle.grid[0], UPSCALE * bundle.grid[1])
        self.points = ObstaclePoints.none()
        self.steps: list[ObstaclePoints] = []

    def see(self, drive: Drive, frame: Frame | None) -> None:
        """Hand the picture to the engine and place what it foresees."""
        assert frame is not None
        stamp_ns, mount = (
            round(frame.stamp_s * 1e9),
            Mount(_view(frame), drive.world.base_from_optical),
        )
        poses = (
            motion_on(trajectory_of(drive, KEEP), self.horizons_s) if self.uses_forecasts else ()
        )
        self.look(frame.image, stamp_ns, mount, poses)

    def look(
        self,
        image: NDArray[np.uint8],
        stamp_ns: int,
        mount: Mount,
        poses: Sequence[Sequence[float]] | NDArray[np.float64] = (),
    ) -> None:
        """Hand a picture to the engine and place what it foresees in `points` and `steps`.

        Args:
            image: (H, W, 3) uint8 RGB.
            stamp_ns: its stamp.
            mount: the camera's.
            poses: (S, 3) of the base at each horizon, in the base of now; none without forecasts.
        """
        forecast = self._engine.update(image, stamp_ns, focal=mount.view.focal)
        self.points, self.steps = ObstaclePoints.none(), []
        if forecast is None:
            return
        rays = mount.view.pixel_rays(self._size)
        if forecast.step_0 is not None:
            self.points = self._placed(forecast.step_0, mount, rays)
        if self.uses_forecasts:
            self.steps = [
                self._placed(scene, mount, rays).moved(pose)
                for scene, pose in zip(forecast.steps, poses, strict=True)
            ]

    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        """What is foreseen at the horizon that is nearest to each time."""
        return at_times(self.points, self.steps, self.horizons_s[: len(self.steps)])

    def _placed(self, scene: Scene, mount: Mount, rays: NDArray[np.float32]) -> ObstaclePoints:
        return likely_points(obstacle_points(scene, rays, mount.base_from_optical, self._options))


class Present(Foreseen):
    """The present as a bundle's heads read it, as if nothing moved."""

    uses_forecasts = False

    def __init__(self, bundle: Bundle, horizons_s: Sequence[float] = HORIZONS_S) -> None:
        super().__init__(bundle, horizons_s, reads_present=True)


class Imagined(Foreseen):
    """What a bundle imagines on each trajectory; one without motion imagines the same on all."""

    uses_forecasts = False

    def __init__(self, bundle: Bundle, horizons_s: Sequence[float] = HORIZONS_S) -> None:
        super().__init__(bundle, horizons_s)
        self._imagination = Imagination(self._engine)
        self._imagine_options = ImagineOptions(ego_footprint(), self._options)
        self._by_trajectory: dict[Trajectory | None, list[ObstaclePoints]] = {}

    def see(self, drive: Drive, frame: Frame | None) -> None:
        """Hand the picture to the engine."""
        assert frame is not None
        super().see(drive, frame)
        self._mount = Mount(_view(frame), drive.world.base_from_optical)
        self._hold = motion_on(trajectory_of(drive, KEEP), self.horizons_s)
        self._by_trajectory = {}

    def around(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        """What is imagined on this trajectory, which is done when it is asked for."""
        key = trajectory if self._imagination.is_motion_aware else None
        if key not in self._by_trajectory:
            self._by_trajectory[key] = self._imagined(trajectory)
        steps = self._by_trajectory[key]
        return at_times(self.points, steps, self.horizons_s[: len(steps)])

    def _imagined(self, trajectory: Trajectory) -> list[ObstaclePoints]:
        if self._engine.context() is None:
            return []
        imagined = answer_of(
            self._imagination.imagine(
                motion_on(trajectory, self.horizons_s)[None],
                self.horizons_s,
                {"": self._mount},
                self._imagine_options,
                assumed=self._hold,
                maps=True,  # at full size: a pedestrian is narrow
                points=True,
            )
        )
        steps = [horizon.points for horizon in imagined.candidates[0].horizons]
        return [likely_points(some) for some in steps if some is not None]


def _view(frame: Frame) -> CameraView:
    return CameraView.pinhole(frame.k, (frame.image.shape[0], frame.image.shape[1]))


def likely_points(points: ObstaclePoints) -> ObstaclePoints:
    """Points that are likelier than not, without single ones."""
    return without_noise(points.where(points.probability >= _PROBABILITY))
