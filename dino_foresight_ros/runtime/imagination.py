"""Imagination: what cameras would see, and what the robot would meet, on several trajectories.

As DINO-world plans (Baldassarre et al., arXiv 2507.19468): candidates are simulated in feature
space, all of them over the same remembered past. Depth and classes are then read out of the
predicted features, and the robot's footprint is swept through them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DEPTH, MAX_STEPS, SEGMENTATION
from dino_foresight_ros.planar_motion import Motion, compose
from dino_foresight_ros.runtime.candidate import alike, outside_range
from dino_foresight_ros.runtime.candidate_scores import (
    Assessed,
    Encounters,
    Trajectories,
    scored,
    sweep_seen,
)
from dino_foresight_ros.runtime.engine import Foresight
from dino_foresight_ros.runtime.imagined import Imagined, ImagineOptions, Mount
from dino_foresight_ros.runtime.imagined_views import MotionViews, Moved, ViewReader, cameras_of
from dino_foresight_ros.runtime.out_of_memory import retry_out_of_memory

T = TypeVar("T")

MAX_CANDIDATES = 1024
MAX_SHOWN = 64
"""Most candidates of which maps or points are given: each has up to 150 kB of them a horizon."""
SCORE_STRIDE = 4
"""For scores alone, every fourth pixel of each row and column of patch grid x 8 is decoded."""
_MOST_WORKERS = 8
_VIEWS_AT_ONCE, _VIEWS_ON_GPU, _TRAJECTORIES_AT_ONCE = 24, 192, 64
_ALIKE_M, _ALIKE_OF_RADIUS, _ALIKE_RAD = 0.5, 0.5, math.radians(4.0)
"""Trajectories share a view where they lead to places that are nearer than this, metres or a share
of the footprint's radius, and to headings that are."""


def shared_views(motions: Motion, radius_m: float) -> NDArray[np.intp]:
    """Whose view each trajectory takes for its own at each horizon, so that fewer are imagined.

    The view is placed where it was imagined, and the footprint swept along each trajectory; so what
    stands still is where it is, and only what hides what is seen from nearly the same place.

    Args:
        motions: (K, S, 3) trajectories.
        radius_m: of the footprint; 0: only those share that are the same.

    Returns:
        (K, S) indices of trajectories.
    """
    within_m = min(_ALIKE_M, _ALIKE_OF_RADIUS * radius_m)
    return np.stack([alike(some, within_m, _ALIKE_RAD) for some in motions.swapaxes(0, 1)], axis=1)


def check_count(candidates: int, is_shown: bool) -> None:
    """Check how many candidates are given.

    Args:
        candidates: how many.
        is_shown: whether maps or points of them are asked for.

    Raises:
        InputError: none, or too many.
    """
    if not 1 <= candidates <= MAX_CANDIDATES:
        raise InputError(f"{candidates} candidates are given; give 1 to {MAX_CANDIDATES}")
    if is_shown and candidates > MAX_SHOWN:
        raise InputError(
            f"maps or points of {candidates} candidates are asked for; give at most {MAX_SHOWN}: "
            "ask for scores first, and for maps of the best"
        )


def answer_of(parts: Generator[None, None, T]) -> T:
    """Do all parts of a question at once and return its answer."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            found: T = end.value
            return found


class Imagination:
    """Assesses candidates with an engine; belongs to the engine's thread."""

    def __init__(self, engine: Foresight) -> None:
        """Prepare; the engine's contexts, forecaster, heads and threads are used."""
        self._engine, bundle = engine, engine.bundle
        self._is_on_gpu = bundle.device.type != "cpu"
        self.workers = min(engine.threads.count, _MOST_WORKERS)
        task: Any = bundle.tasks.get(SEGMENTATION)
        self.class_names: tuple[str, ...] = () if task is None else task.class_names

    @property
    def is_motion_aware(self) -> bool:
        """Whether the forecaster can be told how the base moves."""
        return self._engine.forecaster.takes_motion

    def check_bundle(self) -> None:
        """Check that anything can be imagined.

        Raises:
            InputError: no metric depth.
        """
        bundle = self._engine.bundle
        depth: Any = bundle.tasks.get(DEPTH)
        if depth is None or not depth.is_metric:
            raise InputError(
                f"bundle {bundle.name} has no metric depth head, without which no obstacle has a "
                "place; use one whose depth head gives metres"
            )

    def check_horizons(self, horizons_s: Sequence[float]) -> None:
        """Check what is asked for.

        Raises:
            InputError: none, too many, or horizons that the forecaster cannot answer.
        """
        if not 1 <= len(horizons_s) <= MAX_STEPS:
            raise InputError(f"{len(horizons_s)} horizons are given; give 1 to {MAX_STEPS}")
        try:
            self._engine.forecaster.check_horizons(list(horizons_s))
        except ValueError as error:
            raise InputError(str(error)) from error

    def imagine(
        self,
        candidates: Motion,
        horizons_s: Sequence[float],
        mounts: Mapping[str, Mount],
        options: ImagineOptions,
        *,
        times_s: Sequence[float] | None = None,
        assumed: Motion | None = None,
        moved: Moved | None = None,
        maps: bool = False,
        points: bool = False,
    ) -> Generator[None, None, Imagined]:
        """Assess candidates, in parts between which other work may be done.

        Args:
            candidates: (K, T, 3) motion of the base from the newest frame until each instant,
                metres forward and to the left, radians to the left (REP-103).
            horizons_s: S rising seconds from the newest frame.
            mounts: camera -> where it is on the robot; those of them that have a context are used.
            options: how candidates are assessed.
            times_s: T rising seconds, the horizons among them, between which the base goes on arcs
                of less than half a turn (`candidate.trajectory_times`); the horizons when None.
            assumed: (S, 3) motion that a forecaster which takes none is taken to foresee; standing
                when None.
            moved: motion of the base between the newest frames of cameras, which are brought to the
                newest of all; it stood when None. Views of a forecaster that takes no motion stay
                those of each camera's own horizons.
            maps: give the imagined views, at patch grid x 8.
            points: give the obstacles.

        Returns:
            What is expected of each.

        Raises:
            InputError: no candidate, too many, numbers that are not finite, horizons that the
                forecaster cannot answer, no metric depth, maps or points of more than `MAX_SHOWN`,
                no camera with a whole context, or a goal picture of one that takes no part.
        """
        began_s = time.perf_counter()
        check_count(len(candidates), maps or points)
        trajectories = self._checked(candidates, horizons_s, times_s)
        stride = 1 if maps else SCORE_STRIDE
        cameras = cameras_of(self._engine, mounts, stride, moved)
        names = [camera.name for camera in cameras]
        if options.goal is not None and options.goal_camera not in names:
            name = options.goal_camera or "that"
            raise InputError(f"the goal picture is of camera {name}, which takes no part")
        reader = ViewReader(self._engine, cameras, stride, options)
        yield
        if self.is_motion_aware:
            shares_within_m = 0.0 if maps or points else options.footprint.radius_m
            assessed = yield from self._assessed_by_own_views(
                reader, trajectories, options, shares_within_m
            )
        else:
            seen_from = self._assumed(assumed, len(horizons_s))
            assessed = yield from self._assessed_by_one_view(
                reader, trajectories, options, seen_from
            )
        trajectories_scored = scored(
            assessed, self._outside(trajectories), options, self.class_names
        )
        ranked = sorted(trajectories_scored, key=lambda one: (one.total, one.index))
        return Imagined(
            stamp_ns=max(camera.context.stamps_ns[-1] for camera in cameras),
            candidates=tuple(one.given(names, maps, points) for one in trajectories_scored),
            ranking=tuple(one.index for one in ranked),
            is_motion_aware=self.is_motion_aware,
            cameras=tuple(names),
            weights=options.weights,
            duration_s=time.perf_counter() - began_s,
        )

    def _assessed_by_own_views(
        self,
        reader: ViewReader,
        trajectories: Trajectories,
        options: ImagineOptions,
        shares_within_m: float,
    ) -> Generator[None, None, list[Assessed]]:
        """Each trajectory by what is seen on it: the forecaster is told the motion."""
        motions, cameras = trajectories.until_horizons, reader.cameras
        present = reader.present()
        shared = shared_views(motions, shares_within_m)
        seen, row_of = yield from self._seen(reader, motions, shared, trajectories.horizons_s)
        seen_from = motions[shared, np.arange(len(trajectories.horizons_s))]

        def swept(rows: slice) -> Encounters:
            ahead = seen.on_trajectories(row_of[rows])
            return sweep_seen(
                cameras,
                trajectories.taken(rows),
                [seen_from[rows]] * len(cameras),
                present,
                ahead,
                options,
            )

        assessed: list[Assessed] = []
        for wave in self._waves(len(motions), _TRAJECTORIES_AT_ONCE):
            yield
            for met, rows in zip(self._map(swept, wave), wave, strict=True):
                assessed += Assessed.each(trajectories.taken(rows), met)
        return assessed

    def _assessed_by_one_view(
        self,
        reader: ViewReader,
        trajectories: Trajectories,
        options: ImagineOptions,
        seen_from: Motion,
    ) -> Generator[None, None, list[Assessed]]:
        """All trajectories by what is foreseen on the one (S, 3) that the forecaster assumes."""
        present = reader.present()
        yield
        ahead = self._map(lambda _: reader.foreseen(trajectories.horizons_s), [slice(None)])[0]
        bases = [compose(camera.base, seen_from)[None] for camera in reader.cameras]
        assessed: list[Assessed] = []
        for start in range(0, len(trajectories.poses), _TRAJECTORIES_AT_ONCE):
            yield
            some = trajectories.taken(slice(start, start + _TRAJECTORIES_AT_ONCE))
            met = sweep_seen(reader.cameras, some, bases, present, ahead, options)
            assessed += Assessed.each(some, met)
        return assessed

    def _outside(self, trajectories: Trajectories) -> NDArray[np.bool_]:
        """(K, S) which motions until horizons are faster than the forecaster was trained on."""
        if not self.is_motion_aware:
            return np.zeros(trajectories.until_horizons.shape[:2], bool)
        outside = outside_range(
            trajectories.poses, trajectories.times_s, self._engine.forecaster.motion_speeds
        )
        return outside[:, np.searchsorted(trajectories.times_s, trajectories.horizons_s)]

    def _checked(
        self, candidates: Motion, horizons_s: Sequence[float], times_s: Sequence[float] | None
    ) -> Trajectories:
        motions = np.asarray(candidates, np.float64)
        times = list(horizons_s if times_s is None else times_s)
        self.check_horizons(horizons_s)
        if not set(horizons_s) <= set(times) or times != sorted(times):
            raise InputError(f"times {times} do not rise, or lack one of the horizons {horizons_s}")
        if motions.shape[1:] != (len(times), 3):
            raise InputError(
                f"candidates have shape {motions.shape}, expected (K, {len(times)}, 3)"
            )
        if not np.isfinite(motions).all():
            raise InputError("a candidate has a motion that is not a finite number")
        self.check_bundle()
        return Trajectories(motions, times, list(horizons_s))

    def _assumed(self, assumed: Motion | None, horizons: int) -> Motion:
        known = None if assumed is None else np.asarray(assumed, np.float64)
        if known is None or not np.isfinite(known).all():
            return np.zeros((horizons, 3))
        return known

    def _seen(
        self,
        reader: ViewReader,
        motions: Motion,
        shared: NDArray[np.intp],
        horizons_s: Sequence[float],
    ) -> Generator[None, None, tuple[MotionViews, NDArray[np.intp]]]:
        """The views on trajectories, each once, and the rows (K, S) in which those of each are."""
        keys = shared + len(motions) * np.arange(len(horizons_s))  # those of a horizon together
        distinct, row_of = np.unique(keys, return_inverse=True)
        horizon, trajectory = np.divmod(distinct, len(motions))
        asked, ahead_s = motions[trajectory, horizon], [float(horizons_s[k]) for k in horizon]
        parts: list[MotionViews] = []
        for wave in self._waves(len(asked), _VIEWS_ON_GPU if self._is_on_gpu else _VIEWS_AT_ONCE):
            yield
            parts += self._map(
                lambda rows: reader.on_motions(asked[rows], ahead_s[rows], len(motions) == 1), wave
            )
        return MotionViews.stacked(parts), row_of.reshape(keys.shape)

    def _waves(self, count: int, most: int) -> list[list[slice]]:
        """Rows to work on at once, by thread; a wave is as many as there are threads."""
        size = min(most, -(-count // self.workers))
        parts = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        return [parts[k : k + self.workers] for k in range(0, len(parts), self.workers)]

    def _map(self, work: Callable[[slice], T], parts: list[slice]) -> list[T]:
        return self._engine.threads.run(
            [partial(retry_out_of_memory, partial(work, part)) for part in parts]
        )
