"""What cameras see now and on ways ahead: predicted features, read by the bundle's heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.dpt import UPSCALE, strided
from dino_foresight_ros.obstacles import PointRows, depth_to_sky, obstacle_rows
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, SEGMENTATION
from dino_foresight_ros.planar_motion import Motion
from dino_foresight_ros.runtime.decoder import all_finite, download
from dino_foresight_ros.runtime.engine import Context, Foresight
from dino_foresight_ros.runtime.frame import ModelOutputError
from dino_foresight_ros.runtime.imagined import ImagineOptions, Mount
from dino_foresight_ros.scene import Scene

_READ = (SEGMENTATION, CONFIDENCE, DEPTH)


class Camera(NamedTuple):
    """A camera that takes part."""

    name: str
    context: Context
    mount: Mount
    rays: NDArray[np.float32]


class CameraViews(NamedTuple):
    """A camera's view at one instant, on each of K ways.

    Attributes:
        scenes: K of depth and classes.
        points: obstacles in the base frame of that instant.
        depth: (K, H, W) metres, infinity in the sky.
    """

    scenes: Sequence[Scene]
    points: PointRows
    depth: NDArray[np.float32]


class SeenAhead(NamedTuple):
    """What is imagined on K ways.

    Attributes:
        views: by horizon and camera.
        goal_distances: of each way to the goal picture at the last horizon, 1 as far as now; None
            without one.
    """

    views: list[list[CameraViews]]
    goal_distances: list[float | None]


def cameras_of(engine: Foresight, mounts: Mapping[str, Mount], stride: int) -> list[Camera]:
    """The mounted cameras that have a whole context.

    Args:
        engine: whose contexts are used.
        mounts: by camera.
        stride: of the pixels that are read, as `Decoder.decode` takes it.

    Raises:
        InputError: there is none.
    """
    height, width = (UPSCALE * side for side in engine.bundle.grid)
    found = []
    for name, mount in mounts.items():
        context = engine.context(name)
        if context is not None:
            rays = mount.view.pixel_rays((height, width))
            rays = np.moveaxis(np.moveaxis(rays, -1, 0)[strided(stride)], 0, -1)
            found.append(Camera(name, context, mount, rays))
    if not found:
        raise InputError(f"nothing can be forecast yet: the context has {engine.context_state}")
    return found


class ViewReader:
    """Reads views of some cameras; its methods may be called in several threads."""

    def __init__(
        self, engine: Foresight, cameras: Sequence[Camera], stride: int, options: ImagineOptions
    ) -> None:
        self._engine, self._cameras = engine, cameras
        self._stride, self._options = stride, options

    @torch.inference_mode()
    def present(self) -> list[CameraViews]:
        """What each camera sees now, a single way; nothing where heads cannot tell."""
        if DEPTH not in self._engine.available_of_step_0:
            return []
        return [
            self._views(camera, self._decode(camera.context.newest, {}), 0.0)
            for camera in self._cameras
        ]

    @torch.inference_mode()
    def ahead(self, motions: Motion | None, horizons_s: Sequence[float]) -> SeenAhead:
        """What cameras see on ways (K, S, 3); on the one way that is foreseen without motion."""
        engine, goal = self._engine, self._options.goal
        motion = None if motions is None else torch.from_numpy(motions)[None]
        count = 1 if motions is None else len(motions)
        views: list[list[CameraViews]] = [[] for _ in horizons_s]
        distances: list[float | None] = [None] * count
        for camera in self._cameras:
            context, step = camera.context, 0
            for part in engine.forecaster.stream(
                context.memories,
                context.stamps_s,
                list(horizons_s),
                motion=motion,
                layers=engine.decoder.layers,
            ):
                horizons = part.z.shape[2]
                hidden = {layer: _by_horizon(tokens) for layer, tokens in part.hidden.items()}
                maps = self._decode(_by_horizon(part.z), hidden)
                for k in range(horizons):
                    rows = slice(k * count, (k + 1) * count)
                    of_horizon = {name: values[rows] for name, values in maps.items()}
                    views[step].append(self._views(camera, of_horizon, horizons_s[step]))
                    step += 1
            if goal is not None and camera is self._cameras[0]:
                before, after = _error(context.newest, goal), _error(part.z[0, :, -1], goal)
                distances = list(np.divide(after, before).tolist())
        return SeenAhead(views, distances)

    def _decode(self, z: Tensor, hidden: Mapping[int, Tensor]) -> dict[str, NDArray[Any]]:
        """Maps (N, H, W) of frames (N, h, w, C), by their names."""
        decoder = self._engine.decoder
        request = dict.fromkeys(_READ)
        maps: dict[str, NDArray[Any]] = {}
        for start in range(0, len(z), decoder.frames_per_pass):
            rows = slice(start, start + decoder.frames_per_pass)
            frames = z[rows]
            of_rows = {layer: tokens[rows] for layer, tokens in hidden.items()}
            self._check(all_finite(frames))
            outputs = decoder.decode(frames, [request] * len(frames), of_rows, stride=self._stride)
            for output in outputs:
                self._check(output.finite)
            for output, values in zip(outputs, download(outputs), strict=True):
                if output.name not in maps:
                    maps[output.name] = np.empty((len(z), *values.shape[1:]), values.dtype)
                maps[output.name][start + np.array(output.frames)] = values
        return maps

    def _check(self, is_finite: Tensor) -> None:
        """Refuse what is not finite: depth that is not known would pass for a free way."""
        if not bool(is_finite.all()):
            name = self._engine.bundle.name
            raise ModelOutputError(f"bundle {name} predicted NaN or infinity; try dtype float32")

    def _views(
        self, camera: Camera, maps: Mapping[str, NDArray[Any]], horizon_s: float
    ) -> CameraViews:
        stamp_ns = camera.context.stamps_ns[-1] + round(horizon_s * 1e9)
        scenes = [
            Scene(
                stamp_ns,
                horizon_s=horizon_s,
                depth_is_metric=True,
                **{name: maps[name][row] for name in _READ if name in maps},
            )
            for row in range(len(maps[DEPTH]))
        ]
        options, pose = self._options.obstacles, camera.mount.base_from_optical
        points = obstacle_rows(scenes, camera.rays, pose, options)
        depth = np.stack([depth_to_sky(scene, options) for scene in scenes])
        return CameraViews(scenes, points, depth)


def _by_horizon(x: Tensor) -> Tensor:
    """(1, K, S, ...) -> (S * K, ...), the ways of the first horizon first."""
    return x[0].transpose(0, 1).flatten(0, 1)


def _error(z: Tensor, goal: Tensor) -> NDArray[np.float64]:
    """Mean squared error (k,) of features (k, h, w, C) against those of the goal (h, w, C)."""
    errors = (z.float() - goal.float()).square().mean(dim=(1, 2, 3))
    return np.maximum(errors.cpu().numpy().astype(np.float64), 1e-12)
