"""What cameras see now and on trajectories: predicted features, read by the bundle's heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.dpt import UPSCALE, strided
from dino_foresight_ros.obstacles import PointRows, obstacle_rows
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, SEGMENTATION
from dino_foresight_ros.planar_motion import Motion, compose, inverse, seen_by
from dino_foresight_ros.runtime.batch import Context
from dino_foresight_ros.runtime.decoder import all_finite, download
from dino_foresight_ros.runtime.engine import Foresight
from dino_foresight_ros.runtime.frame import ModelOutputError
from dino_foresight_ros.runtime.imagined import ImagineOptions, Mount
from dino_foresight_ros.scene import Scene

_READ = (SEGMENTATION, CONFIDENCE, DEPTH)


class Camera(NamedTuple):
    """A camera that takes part.

    Attributes:
        name: of it.
        context: its newest frames.
        mount: where it is on the robot.
        rays: (H, W, 3) of the pixels that are read.
        lag_ns: from its newest frame to the newest of all cameras.
        base: (3,) the base at its newest frame, in the base frame of the newest of all.
    """

    name: str
    context: Context
    mount: Mount
    rays: NDArray[np.float32]
    lag_ns: int
    base: Motion


class CameraViews(NamedTuple):
    """A camera's view at one instant, on each of K trajectories.

    Attributes:
        scenes: K of depth and classes.
        points: obstacles in the base frame of that instant.
        depth: (K, H, W) metres, infinity in the sky.
    """

    scenes: Sequence[Scene]
    points: PointRows
    depth: NDArray[np.float32]

    @classmethod
    def stacked(cls, parts: Sequence[CameraViews]) -> CameraViews:
        """The rows of all of them, those of the first part first."""
        return cls(
            [scene for part in parts for scene in part.scenes],
            PointRows.stacked([part.points for part in parts]),
            np.concatenate([part.depth for part in parts]),
        )

    def taken(self, rows: NDArray[np.intp]) -> CameraViews:
        """These rows (N,); one may be taken several times."""
        scenes = [self.scenes[row] for row in rows]
        return CameraViews(scenes, self.points.taken(rows), self.depth[rows])


class SeenAhead(NamedTuple):
    """What is imagined on K trajectories.

    Attributes:
        views: by horizon and camera.
        goal_distances: of each trajectory to the goal picture at the last horizon, 1 as far as now;
            None without one.
    """

    views: list[list[CameraViews]]
    goal_distances: list[float | None]


class MotionViews(NamedTuple):
    """What is imagined where N motions lead.

    Attributes:
        views: of each camera.
        goal_distances: (N,) to the goal picture, 1 as far as now; None without one.
    """

    views: list[CameraViews]
    goal_distances: NDArray[np.float64] | None

    @classmethod
    def stacked(cls, parts: Sequence[MotionViews]) -> MotionViews:
        """Those of all parts, one after the other."""
        every = zip(*[part.views for part in parts], strict=True)
        views = [CameraViews.stacked(of_camera) for of_camera in every]
        given = [part.goal_distances for part in parts if part.goal_distances is not None]
        return cls(views, np.concatenate(given) if given else None)

    def on_trajectories(self, rows: NDArray[np.intp]) -> SeenAhead:
        """As seen on K trajectories whose views at S horizons are in rows (K, S)."""
        views = [[view.taken(of_horizon) for view in self.views] for of_horizon in rows.T]
        distances: list[float | None] = [None] * len(rows)
        if self.goal_distances is not None:
            distances = list(self.goal_distances[rows[:, -1]].tolist())
        return SeenAhead(views, distances)


Moved = Callable[[int, int], Motion]
"""Tells the motion (3,) of the base between two instants, nanoseconds."""


def cameras_of(
    engine: Foresight, mounts: Mapping[str, Mount], stride: int, moved: Moved | None = None
) -> list[Camera]:
    """The mounted cameras that have a whole context.

    Args:
        engine: whose contexts are used.
        mounts: by camera.
        stride: of the pixels that are read, as `Decoder.decode` takes it.
        moved: between the newest frames of cameras; the base stood when None.

    Raises:
        InputError: there is none.
    """
    height, width = (UPSCALE * side for side in engine.bundle.grid)
    contexts = {name: engine.context(name) for name in mounts}
    full = {name: context for name, context in contexts.items() if context is not None}
    if not full:
        raise InputError(f"nothing can be forecast yet: the context has {engine.context_state}")
    now_ns = max(context.stamps_ns[-1] for context in full.values())
    found = []
    for name, context in full.items():
        mount, then_ns = mounts[name], context.stamps_ns[-1]
        rays = mount.view.pixel_rays((height, width))
        rays = np.moveaxis(np.moveaxis(rays, -1, 0)[strided(stride)], 0, -1)
        base = np.zeros(3) if moved is None or then_ns == now_ns else moved(now_ns, then_ns)
        found.append(Camera(name, context, mount, rays, now_ns - then_ns, base))
    return found


class ViewReader:
    """Reads views of some cameras; its methods may be called in several threads.

    Attributes:
        cameras: those.
    """

    def __init__(
        self, engine: Foresight, cameras: Sequence[Camera], stride: int, options: ImagineOptions
    ) -> None:
        self._engine, self.cameras = engine, cameras
        self._stride, self._options = stride, options

    @torch.inference_mode()
    def present(self) -> list[CameraViews]:
        """What each camera sees now, a single trajectory; nothing where heads cannot tell."""
        if DEPTH not in self._engine.available_of_step_0:
            return []
        return [
            self._views(camera, self._decode(camera, camera.context.newest, {}), [0.0])
            for camera in self.cameras
        ]

    @torch.inference_mode()
    def foreseen(self, horizons_s: Sequence[float]) -> SeenAhead:
        """What cameras see on the one trajectory of a forecaster that takes no motion."""
        views: list[list[CameraViews]] = [[] for _ in horizons_s]
        distances: list[float | None] = [None]
        for camera in self.cameras:
            z, hidden = self._predict(camera, horizons_s, None)
            every = self._views(camera, self._decode(camera, z, hidden), horizons_s)
            for step, seen in enumerate(views):
                seen.append(every.taken(np.array([step])))
            if self._is_of_goal(camera):
                distances = list(self._goal_distances(camera, z[-1:]))
        return SeenAhead(views, distances)

    @torch.inference_mode()
    def on_motions(
        self, motions: Motion, ahead_s: Sequence[float], is_one_trajectory: bool = False
    ) -> MotionViews:
        """What cameras see where single motions lead.

        Args:
            motions: (N, 3) from the newest frame of all; those until one instant stand together.
            ahead_s: (N,) until when each is. Cameras whose newest frame is older foresee farther.
            is_one_trajectory: whether they are of one, whose horizons are predicted at once.
        """
        views, distances = [], None
        if is_one_trajectory:
            asked = [(list(ahead_s), list(range(len(motions))))]
        else:  # motions until different horizons are of different trajectories
            every = groupby(range(len(motions)), key=ahead_s.__getitem__)
            asked = [([horizon_s], list(some)) for horizon_s, some in every]
        for camera in self.cameras:
            moved, lag_s = compose(inverse(camera.base), motions), camera.lag_ns / 1e9
            parts = [
                self._predict(camera, [one_s + lag_s for one_s in until_s], moved[some])
                for until_s, some in asked
            ]
            z = torch.cat([part for part, _ in parts])
            hidden = {layer: torch.cat([tokens[layer] for _, tokens in parts])
                      for layer in parts[0][1]}  # fmt: skip
            views.append(self._views(camera, self._decode(camera, z, hidden), ahead_s))
            if self._is_of_goal(camera):
                distances = self._goal_distances(camera, z)
        return MotionViews(views, distances)

    def _predict(
        self, camera: Camera, horizons_s: Sequence[float], motions: Motion | None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Features (N, h, w, C) and hidden tokens at horizons from the camera's newest frame, or of
        motions (N, 3) from there, as many until each of the horizons."""
        context, engine = camera.context, self._engine
        motion = None
        if motions is not None:
            seen = torch.from_numpy(seen_by(motions, camera.mount.base_from_optical))
            motion = seen.unflatten(0, (len(horizons_s), -1)).transpose(0, 1)[None]  # (1, K, S, 3)
        parts = list(
            engine.forecaster.stream(
                context.memories,
                context.stamps_s,
                list(horizons_s),
                motion=motion,
                layers=engine.decoder.layers,
            )
        )
        z = torch.cat([_by_horizon(part.z) for part in parts])
        layers = parts[0].hidden
        hidden = {i: torch.cat([_by_horizon(part.hidden[i]) for part in parts]) for i in layers}
        return z, hidden

    def _is_of_goal(self, camera: Camera) -> bool:
        return self._options.goal is not None and camera.name == self._options.goal_camera

    def _goal_distances(self, camera: Camera, z: Tensor) -> NDArray[np.float64]:
        """(N,) from features to those of the goal, 1 as far as now."""
        goal = self._options.goal
        assert goal is not None
        return _error(z, goal) / _error(camera.context.newest, goal)

    def _decode(
        self, camera: Camera, z: Tensor, hidden: Mapping[int, Tensor]
    ) -> dict[str, NDArray[Any]]:
        """Maps (N, H, W) of a camera's frames (N, h, w, C), by their names."""
        decoder, focal = self._engine.decoder, camera.mount.view.focal
        request = dict.fromkeys(_READ)
        maps: dict[str, NDArray[Any]] = {}
        for start in range(0, len(z), decoder.frames_per_pass):
            rows = slice(start, start + decoder.frames_per_pass)
            frames = z[rows]
            of_rows = {layer: tokens[rows] for layer, tokens in hidden.items()}
            self._check(all_finite(frames))
            outputs = decoder.decode(
                frames,
                [request] * len(frames),
                of_rows,
                stride=self._stride,
                focals=[focal] * len(frames),
            )
            for output in outputs:
                self._check(output.finite)
            for output, values in zip(outputs, download(outputs), strict=True):
                if output.name not in maps:
                    maps[output.name] = np.empty((len(z), *values.shape[1:]), values.dtype)
                maps[output.name][start + np.array(output.frames)] = values
        return maps

    def _check(self, is_finite: Tensor) -> None:
        """Refuse what is not finite: depth that is not known would pass for a free trajectory."""
        if not bool(is_finite.all()):
            name = self._engine.bundle.name
            raise ModelOutputError(f"bundle {name} predicted NaN or infinity; try dtype float32")

    def _views(
        self, camera: Camera, maps: Mapping[str, NDArray[Any]], horizons_s: Sequence[float]
    ) -> CameraViews:
        """Of rows of maps, each until its own horizon."""
        now_ns = camera.context.stamps_ns[-1] + camera.lag_ns
        scenes = [
            Scene(
                now_ns + round(horizon_s * 1e9),
                horizon_s=horizon_s,
                depth_is_metric=True,
                **{name: maps[name][row] for name in _READ if name in maps},
            )
            for row, horizon_s in enumerate(horizons_s)
        ]
        options, pose = self._options.obstacles, camera.mount.base_from_optical
        points, depth = obstacle_rows(scenes, camera.rays, pose, options)
        return CameraViews(scenes, points, depth)


def _by_horizon(x: Tensor) -> Tensor:
    """(1, K, S, ...) -> (S * K, ...), the trajectories of the first horizon first."""
    return x[0].transpose(0, 1).flatten(0, 1)


def _error(z: Tensor, goal: Tensor) -> NDArray[np.float64]:
    """Mean squared error (k,) of features (k, h, w, C) against those of the goal (h, w, C)."""
    errors = (z.float() - goal.float()).square().mean(dim=(1, 2, 3))
    return np.maximum(errors.cpu().numpy().astype(np.float64), 1e-12)
