"""Imagination: what cameras would see, and what the robot would meet, on each of several ways.

As DINO-world plans (Baldassarre et al., arXiv 2507.19468): candidates are simulated in feature
space, all of them over the same remembered past. Depth and classes are then read out of the
predicted features, and the robot's footprint is swept through them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.classes import class_name
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.heads import UPSCALE, strided
from dino_foresight_ros.obstacles import (
    Footprint,
    GroundView,
    ObstacleOptions,
    ObstaclePoints,
    Sweep,
    depth_to_sky,
    obstacle_points,
    sweep,
)
from dino_foresight_ros.obstacles.sweep import STEP_M
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, MAX_STEPS, SEGMENTATION
from dino_foresight_ros.planar_motion import Motion, pose_of
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.runtime.candidate import outside_range, progress
from dino_foresight_ros.runtime.decoder import FrameRequest, download
from dino_foresight_ros.runtime.engine import Context, Foresight
from dino_foresight_ros.runtime.frame import ModelOutputError
from dino_foresight_ros.runtime.memory import retry_out_of_memory
from dino_foresight_ros.scene import Scene

T = TypeVar("T")

MAX_CANDIDATES = 1024
SCORE_STRIDE = 4
"""For scores alone, every fourth pixel of each row and column of patch grid x 8 is decoded."""
_AT_ONCE, _AT_ONCE_ON_GPU = 8, 64
_STEP_OF_RADIUS = 0.15
"""The footprint is set down every so much of its radius, far less than its length."""


class Weights(NamedTuple):
    """How much each cost counts, all of which lie within 0 to 1.

    Attributes:
        occupied: probability of a contact; sooner ones count at more horizons.
        distance: nearness to obstacles, below `ImagineOptions.safe_distance_m`.
        unknown: share of the swept area that no camera sees.
        progress: how much less far than the best; with a goal picture, how unlike it the view is
            at the last horizon.
    """

    occupied: float = 4.0
    distance: float = 1.0
    unknown: float = 0.5
    progress: float = 1.0


WEIGHTS = Weights()


@dataclass(frozen=True)
class Mount:
    """A camera on a robot.

    Attributes:
        view: how its pictures come about.
        base_from_optical: (4, 4) pose of its optical frame in the base frame.
    """

    view: CameraView
    base_from_optical: NDArray[np.float64]


@dataclass(frozen=True)
class ImagineOptions:
    """How candidates are judged.

    Attributes:
        footprint: of the robot.
        obstacles: what of a view is an obstacle.
        weights: of the costs.
        safe_distance_m: obstacles farther from the footprint cost nothing.
        contact_probability: from this on something counts as met.
        goal: (h, w, C) features of a picture of where to be, as the first camera would see it
            (`Foresight.features`); none when None. The distance to it is the mean squared error
            (DINO-WM, arXiv 2411.04983).
    """

    footprint: Footprint
    obstacles: ObstacleOptions
    weights: Weights = WEIGHTS
    safe_distance_m: float = 1.0
    contact_probability: float = 0.5
    goal: Tensor | None = None


@dataclass(frozen=True, eq=False)
class ImaginedHorizon:
    """What is expected of a candidate until a horizon; see msg/CandidateHorizon.

    Attributes:
        horizon_s: seconds from the newest frame.
        motion: (3,) of the base until then.
        probability_occupied: that the footprint meets something until then.
        least_distance_m: from it to the nearest obstacle until then; infinity without any.
        class_id: of what is met or nearest, 255 none.
        unknown: share of the swept area that no camera sees.
        is_outside_range: the motion is faster than the forecaster was trained on.
        scenes: camera -> the imagined view, where maps were asked for.
        points: obstacles in the base frame of the newest frame, where they were asked for.
    """

    horizon_s: float
    motion: Motion
    probability_occupied: float
    least_distance_m: float
    class_id: int
    unknown: float
    is_outside_range: bool
    scenes: Mapping[str, Scene]
    points: ObstaclePoints | None


@dataclass(frozen=True, eq=False)
class ImaginedCandidate:
    """What is expected of a candidate; see msg/CandidateScore.

    Attributes:
        index: of the candidate.
        total: weighted sum of the costs, lower is better.
        costs: before they are weighted.
        progress_m: forward along the candidate.
        time_to_contact_s: infinity without contact.
        reason: what speaks against it; empty for the best.
        horizons: one per horizon.
    """

    index: int
    total: float
    costs: Weights
    progress_m: float
    time_to_contact_s: float
    reason: str
    horizons: tuple[ImaginedHorizon, ...]


@dataclass(frozen=True, eq=False)
class Imagined:
    """Every candidate, judged.

    Attributes:
        stamp_ns: of the newest context frame.
        candidates: in the order in which they were given.
        ranking: their indices, best first.
        is_motion_aware: False where the forecaster takes no motion: every candidate is then judged
            by the same views.
        weights: that were used.
        duration_s: wall time that it took.
    """

    stamp_ns: int
    candidates: tuple[ImaginedCandidate, ...]
    ranking: tuple[int, ...]
    is_motion_aware: bool
    weights: Weights
    duration_s: float


class _View(NamedTuple):
    """A camera's picture at one instant, taken apart.

    Attributes:
        scene: depth and classes.
        points: obstacles in the base frame of that instant.
        depth: (H, W) metres, infinity in the sky.
    """

    scene: Scene
    points: ObstaclePoints
    depth: NDArray[np.float32]


class _Seen(NamedTuple):
    """What is imagined on one way.

    Attributes:
        views: by horizon and camera.
        goal_distance: to the goal picture at the last horizon, 1 as far as now; None without one.
    """

    views: list[list[_View]]
    goal_distance: float | None


class _Camera(NamedTuple):
    """A camera that takes part."""

    name: str
    context: Context
    mount: Mount
    rays: NDArray[np.float32]


def answer_of(parts: Generator[None, None, T]) -> T:
    """Do all parts of a question at once and return its answer."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            found: T = end.value
            return found


class Imagination:
    """Judges candidates with an engine; belongs to the engine's thread."""

    def __init__(self, engine: Foresight, workers: int | None = None) -> None:
        """Prepare.

        Args:
            engine: whose contexts, forecaster and heads are used.
            workers: how many threads imagine beside each other; as many as there are cores where
                torch splits no operation over them.
        """
        self._engine, bundle = engine, engine.bundle
        self._is_on_gpu = bundle.device.type != "cpu"
        if workers is None:
            cores = len(os.sched_getaffinity(0))
            workers = 1 if self._is_on_gpu else max(1, cores // torch.get_num_threads())
        self.workers = min(workers, 8)
        self._pool: ThreadPoolExecutor | None = None
        task: Any = bundle.tasks.get(SEGMENTATION)
        self.class_names: tuple[str, ...] = () if task is None else task.class_names

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    @property
    def is_motion_aware(self) -> bool:
        """Whether the forecaster can be told how the base moves."""
        return self._engine.forecaster.takes_motion

    def imagine(
        self,
        candidates: Motion,
        horizons_s: Sequence[float],
        mounts: Mapping[str, Mount],
        options: ImagineOptions,
        *,
        assumed: Motion | None = None,
        maps: bool = False,
        points: bool = False,
    ) -> Generator[None, None, Imagined]:
        """Judge candidates, in parts between which other work may be done.

        Args:
            candidates: (K, S, 3) motion of the base from the newest frame until each horizon,
                metres forward and to the left, radians to the left (REP-103).
            horizons_s: S rising seconds from the newest frame.
            mounts: camera -> where it is on the robot; those of them that have a context are used.
            options: how candidates are judged.
            assumed: (S, 3) motion that a forecaster which takes none is taken to foresee; standing
                when None.
            maps: give the imagined views, at patch grid x 8.
            points: give the obstacles.

        Returns:
            What is expected of each.

        Raises:
            InputError: no candidate, too many, numbers that are not finite, horizons that the
                forecaster cannot answer, no metric depth, or no camera with a whole context.
        """
        began_s = time.perf_counter()
        motions = self._checked(candidates, horizons_s)
        stride = 1 if maps else SCORE_STRIDE
        cameras = self._cameras(mounts, stride)
        yield
        present = self._present(cameras, stride, options)
        aware = self.is_motion_aware
        seen_from = motions if aware else self._assumed(assumed, len(horizons_s))[None]
        ways: list[_Seen] = []
        for wave in self._waves(len(seen_from)):
            yield
            some = self._map(
                lambda rows: self._views(
                    cameras, seen_from[rows], aware, horizons_s, stride, options
                ),
                wave,
            )
            ways += [of_one for part in some for of_one in part]
        yield
        found = []
        for index, way in enumerate(motions):
            row = index if aware else 0
            found.append(
                _Judged.of(way, seen_from[row], present, ways[row], cameras, horizons_s, options)
            )
            if index % _AT_ONCE_ON_GPU == _AT_ONCE_ON_GPU - 1:
                yield
        outside = np.zeros(motions.shape[:2], bool)
        if aware:
            outside = outside_range(motions, horizons_s, self._engine.forecaster.motion_speeds)
        names = [camera.name for camera in cameras]
        scored = _scored(found, outside, options, self.class_names)
        return Imagined(
            stamp_ns=max(camera.context.stamps_ns[-1] for camera in cameras),
            candidates=tuple(one.given(names, maps, points) for one in scored),
            ranking=tuple(one.index for one in sorted(scored, key=lambda s: (s.total, s.index))),
            is_motion_aware=aware,
            weights=options.weights,
            duration_s=time.perf_counter() - began_s,
        )

    def _checked(self, candidates: Motion, horizons_s: Sequence[float]) -> Motion:
        motions = np.asarray(candidates, np.float64)
        engine = self._engine
        if not 1 <= len(motions) <= MAX_CANDIDATES:
            raise InputError(f"{len(motions)} candidates are given; give 1 to {MAX_CANDIDATES}")
        if not 1 <= len(horizons_s) <= MAX_STEPS:
            raise InputError(f"{len(horizons_s)} horizons are given; give 1 to {MAX_STEPS}")
        if motions.shape[1:] != (len(horizons_s), 3):
            raise InputError(
                f"candidates have shape {motions.shape}, expected (K, {len(horizons_s)}, 3)"
            )
        if not np.isfinite(motions).all():
            raise InputError("a candidate has a motion that is not a finite number")
        try:
            engine.forecaster.check_horizons(list(horizons_s))
        except ValueError as error:
            raise InputError(f"horizons: {error}") from error
        depth: Any = engine.bundle.tasks.get(DEPTH)
        if depth is None or not depth.is_metric:
            raise InputError(
                f"bundle {engine.bundle.name} has no metric depth head, without which no obstacle "
                "has a place; use one whose depth head gives metres"
            )
        return motions

    def _cameras(self, mounts: Mapping[str, Mount], stride: int) -> list[_Camera]:
        height, width = (UPSCALE * side for side in self._engine.bundle.grid)
        found = []
        for name, mount in mounts.items():
            context = self._engine.context(name)
            if context is not None:
                rays = mount.view.pixel_rays((height, width))
                rays = np.moveaxis(np.moveaxis(rays, -1, 0)[strided(stride)], 0, -1)
                found.append(_Camera(name, context, mount, rays))
        if not found:
            state = self._engine.context_state
            raise InputError(f"nothing can be forecast yet: the context has {state}")
        return found

    def _assumed(self, assumed: Motion | None, horizons: int) -> Motion:
        known = None if assumed is None else np.asarray(assumed, np.float64)
        if known is None or not np.isfinite(known).all():
            return np.zeros((horizons, 3))
        return known

    def _waves(self, count: int) -> list[list[slice]]:
        """Rows to imagine at once, by thread; a wave is as many as there are threads."""
        most = _AT_ONCE_ON_GPU if self._is_on_gpu else _AT_ONCE
        size = min(most, -(-count // self.workers))
        parts = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        return [parts[k : k + self.workers] for k in range(0, len(parts), self.workers)]

    def _map(self, work: Any, parts: list[slice]) -> list[Any]:
        def in_mode(part: slice) -> Any:
            with torch.inference_mode():
                return retry_out_of_memory(lambda: work(part))

        if len(parts) == 1:
            return [in_mode(parts[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="imagination")
        return list(self._pool.map(in_mode, parts))

    def _request(self) -> FrameRequest:
        return dict.fromkeys((SEGMENTATION, CONFIDENCE, DEPTH))

    @torch.inference_mode()
    def _present(
        self, cameras: Sequence[_Camera], stride: int, options: ImagineOptions
    ) -> list[_View]:
        """What each camera sees now; nothing where heads cannot tell."""
        if DEPTH not in self._engine.available_of_step_0:
            return []
        return [
            self._decode(camera, camera.context.newest, {}, 0.0, stride, options)[0]
            for camera in cameras
        ]

    def _views(
        self,
        cameras: Sequence[_Camera],
        motions: Motion,
        aware: bool,
        horizons_s: Sequence[float],
        stride: int,
        options: ImagineOptions,
    ) -> list[_Seen]:
        """What cameras see on some ways (k, S, 3)."""
        forecaster, layers = self._engine.forecaster, self._engine.decoder.layers
        found: list[list[list[_View]]] = [[[] for _ in horizons_s] for _ in motions]
        motion = torch.from_numpy(motions)[None] if aware else None
        distances: list[float | None] = [None] * len(motions)
        for camera in cameras:
            context, step = camera.context, 0
            for part in forecaster.stream(
                context.memories, context.stamps_s, list(horizons_s), motion=motion, layers=layers
            ):
                for k in range(part.z.shape[2]):
                    hidden = {i: tokens[0, :, k] for i, tokens in part.hidden.items()}
                    seen = self._decode(
                        camera, part.z[0, :, k], hidden, horizons_s[step], stride, options
                    )
                    for row, view in enumerate(seen):
                        found[row][step].append(view)
                    step += 1
            if options.goal is not None and camera is cameras[0]:
                before = _error(context.newest, options.goal)
                after = _error(part.z[0, :, -1], options.goal)
                distances = list(np.divide(after, before).tolist())
        return [_Seen(*one) for one in zip(found, distances, strict=True)]

    def _check(self, is_finite: Tensor) -> None:
        """Refuse what is not finite: depth that is not known would pass for a free way."""
        if not bool(is_finite.all()):
            name = self._engine.bundle.name
            raise ModelOutputError(f"bundle {name} predicted NaN or infinity; try dtype float32")

    def _decode(
        self,
        camera: _Camera,
        z: Tensor,
        hidden: Mapping[int, Tensor],
        horizon_s: float,
        stride: int,
        options: ImagineOptions,
    ) -> list[_View]:
        """Views of frames (k, h, w, C) of one instant."""
        decoder, request = self._engine.decoder, self._request()
        maps: list[dict[str, NDArray[Any]]] = []
        for start in range(0, len(z), decoder.frames_per_pass):
            rows = slice(start, start + decoder.frames_per_pass)
            frames = z[rows]
            of_rows = {layer: tokens[rows] for layer, tokens in hidden.items()}
            self._check(torch.isfinite(frames))
            outputs = decoder.decode(frames, [request] * len(frames), of_rows, stride=stride)
            for output in outputs:
                self._check(output.finite)
            some: list[dict[str, NDArray[Any]]] = [{} for _ in frames]
            for output, values in zip(outputs, download(outputs), strict=True):
                for row, value in zip(output.frames, values, strict=True):
                    some[row][output.name] = value
            maps += some
        stamp_ns = camera.context.stamps_ns[-1] + round(horizon_s * 1e9)
        return [_view(stamp_ns, horizon_s, one, camera, options) for one in maps]


def _error(z: Tensor, goal: Tensor) -> NDArray[np.float64]:
    """Mean squared error (k,) of features (k, h, w, C) against those of the goal (h, w, C)."""
    errors = (z.float() - goal.float()).square().mean(dim=(1, 2, 3))
    return np.maximum(errors.cpu().numpy().astype(np.float64), 1e-12)


def _view(
    stamp_ns: int,
    horizon_s: float,
    maps: Mapping[str, NDArray[Any]],
    camera: _Camera,
    options: ImagineOptions,
) -> _View:
    names = (SEGMENTATION, CONFIDENCE, DEPTH)
    scene = Scene(
        stamp_ns,
        horizon_s=horizon_s,
        depth_is_metric=True,
        **{name: maps[name] for name in names if name in maps},  # type: ignore[arg-type]
    )
    base_from_optical = camera.mount.base_from_optical
    points = obstacle_points(scene, camera.rays, base_from_optical, options.obstacles)
    return _View(scene, points, depth_to_sky(scene, options.obstacles))


@dataclass(frozen=True, eq=False)
class _Judged:
    """A candidate before it is compared with the others."""

    way: Motion
    horizons_s: Sequence[float]
    swept: Sweep
    scenes: list[list[Scene]]
    points: list[ObstaclePoints]
    goal_distance: float | None

    @classmethod
    def of(
        cls,
        way: Motion,
        seen_from: Motion,
        present: list[_View],
        ahead: _Seen,
        cameras: Sequence[_Camera],
        horizons_s: Sequence[float],
        options: ImagineOptions,
    ) -> _Judged:
        """Sweep the footprint along a way through what is seen on it.

        What goes out of view, such as a car beside the robot, stays where it was seen last.
        """
        instants = [(0.0, np.zeros(3), np.zeros(3), present)] if present else []
        instants += list(zip(horizons_s, way, seen_from, ahead.views, strict=True))
        points: list[ObstaclePoints] = []
        ground: list[list[GroundView]] = []
        for _, _, base, seen in instants:
            found = ObstaclePoints.joined([view.points for view in seen]).moved(base)
            views_now = [
                GroundView(c.mount.view, pose_of(base) @ c.mount.base_from_optical, view.depth)
                for c, view in zip(cameras, seen, strict=True)
            ]
            if points:
                found = ObstaclePoints.joined([found, _out_of_view(points[-1], views_now)])
            points.append(found)
            ground.append(views_now)
        swept = sweep(
            points,
            np.stack([pose for _, pose, _, _ in instants]),
            options.footprint,
            [horizon_s for horizon_s, _, _, _ in instants],
            contact_probability=options.contact_probability,
            views=ground,
            step_m=max(STEP_M, _STEP_OF_RADIUS * options.footprint.radius_m),
        )
        first = len(instants) - len(way)
        scenes = [[view.scene for view in seen] for seen in ahead.views]
        return cls(way, horizons_s, swept, scenes, points[first:], ahead.goal_distance)


@dataclass(frozen=True, eq=False)
class _Scored:
    """A candidate that was compared with the others."""

    index: int
    judged: _Judged
    total: float
    costs: Weights
    progress_m: float
    reason: str
    outside: NDArray[np.bool_]

    def given(self, cameras: Sequence[str], maps: bool, points: bool) -> ImaginedCandidate:
        """As it is handed out."""
        judged = self.judged
        steps = judged.swept.steps[-len(judged.way) :]
        return ImaginedCandidate(
            self.index,
            self.total,
            self.costs,
            self.progress_m,
            judged.swept.time_to_contact_s,
            self.reason,
            tuple(
                ImaginedHorizon(
                    horizon_s=float(judged.horizons_s[k]),
                    motion=judged.way[k],
                    probability_occupied=step.probability_occupied,
                    least_distance_m=step.least_distance_m,
                    class_id=step.class_id,
                    unknown=step.unknown,
                    is_outside_range=bool(self.outside[k]),
                    scenes=dict(zip(cameras, judged.scenes[k], strict=True)) if maps else {},
                    points=judged.points[k] if points else None,
                )
                for k, step in enumerate(steps)
            ),
        )


def _scored(
    found: Sequence[_Judged],
    outside: NDArray[np.bool_],
    options: ImagineOptions,
    class_names: Sequence[str],
) -> list[_Scored]:
    """Costs, totals and what speaks against each but the best."""
    progresses = [progress(judged.way) for judged in found]
    farthest = max(*progresses, 0.0)
    costs = [
        _costs(judged, one, farthest, options)
        for judged, one in zip(found, progresses, strict=True)
    ]
    totals = [float(np.dot(options.weights, cost)) for cost in costs]
    best = int(np.argmin(totals))
    scored = []
    for index, judged in enumerate(found):
        gaps = np.array(options.weights) * (np.array(costs[index]) - np.array(costs[best]))
        reason = ""
        if index != best:
            reason = _reason(
                judged,
                gaps,
                progresses[best] - progresses[index],
                class_names,
                is_outside=bool(outside[index].any()),
            )
        scored.append(
            _Scored(
                index,
                judged,
                totals[index],
                costs[index],
                progresses[index],
                reason,
                outside[index],
            )
        )
    return scored


def _costs(
    judged: _Judged, progress_m: float, farthest_m: float, options: ImagineOptions
) -> Weights:
    steps = judged.swept.steps[-len(judged.way) :]
    last = steps[-1]
    nearness = 0.0
    if options.safe_distance_m > 0:
        nearness = 1 - min(last.least_distance_m / options.safe_distance_m, 1.0)
    behind = (farthest_m - progress_m) / farthest_m if farthest_m > 0 else 0.0
    if judged.goal_distance is not None:
        behind = judged.goal_distance
    return Weights(
        occupied=float(np.mean([step.probability_occupied for step in steps])),
        distance=nearness,
        unknown=0.0 if np.isnan(last.unknown) else last.unknown,
        progress=float(np.clip(behind, 0.0, 1.0)),
    )


def _reason(
    judged: _Judged,
    gaps: NDArray[np.float64],
    less_m: float,
    class_names: Sequence[str],
    is_outside: bool,
) -> str:
    """In words, the cost by which a candidate loses most against the best one."""
    last = judged.swept.steps[-1]
    worst = Weights._fields[int(np.argmax(gaps))]
    name = class_name(last.class_id, class_names) or "something"
    if gaps.max() <= 0:
        text = "as good as the best"
    elif worst == "occupied":
        swept, probability = judged.swept, last.probability_occupied
        when = f" in {swept.time_to_contact_s:.1f} s" if swept.contact else ""
        text = f"meets {name}{when} (probability {probability:.2f})"
    elif worst == "distance":
        text = f"passes {name} at {last.least_distance_m:.2f} m"
    elif worst == "unknown":
        text = f"{100 * last.unknown:.0f} % of its way is not seen"
    elif judged.goal_distance is not None:
        text = (
            f"its view is less like the goal's ({100 * judged.goal_distance:.0f} % as far as now)"
        )
    else:
        text = f"{less_m:.1f} m less progress"
    return text + ("; faster than the model was trained for" if is_outside else "")


def _out_of_view(points: ObstaclePoints, views: Sequence[GroundView]) -> ObstaclePoints:
    """Those points at whose places no camera looks."""
    left = np.ones(len(points), bool)
    for view in views:
        left[left] = ~view.sees(points.xyz[left].astype(np.float64))
    return points.where(left)
