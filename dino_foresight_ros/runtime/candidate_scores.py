"""What the robot meets on trajectories through imagined views, and what each of them costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import class_name
from dino_foresight_ros.obstacles import (
    GroundViews,
    PointRows,
    Sweep,
    cell_of,
    sweep_trajectories,
)
from dino_foresight_ros.obstacles.sweep import STEP_M
from dino_foresight_ros.planar_motion import Motion, pose_of
from dino_foresight_ros.runtime.candidate import progress
from dino_foresight_ros.runtime.imagined import (
    ImaginedCandidate,
    ImaginedHorizon,
    ImagineOptions,
    Weights,
)
from dino_foresight_ros.runtime.imagined_views import Camera, CameraViews, SeenAhead
from dino_foresight_ros.scene import Scene

_STEP_OF_RADIUS = 0.15
"""The footprint is set down every so much of its radius, far less than its length."""


class Trajectories(NamedTuple):
    """Trajectories that the base might go.

    Attributes:
        poses: (K, T, 3) motion of the base until each instant.
        times_s: T rising seconds, the last horizon the last and all others among them.
        horizons_s: S of them.
    """

    poses: Motion
    times_s: Sequence[float]
    horizons_s: Sequence[float]

    @property
    def until_horizons(self) -> Motion:
        """(K, S, 3) motion until each horizon."""
        return self.poses[:, np.searchsorted(self.times_s, self.horizons_s)]

    def taken(self, rows: slice) -> Trajectories:
        """Some of them."""
        return self._replace(poses=self.poses[rows])


class Encounters(NamedTuple):
    """What is around some trajectories, and what the footprint meets on them.

    Attributes:
        swept: of each trajectory.
        points: of each horizon, thinned, in the base frame of now.
        seen: what was imagined, of as many rows as the points have.
    """

    swept: list[Sweep]
    points: list[PointRows]
    seen: SeenAhead


@dataclass(frozen=True, eq=False)
class Assessed:
    """A trajectory before it is compared with the others.

    Attributes:
        trajectory: (S, 3) motion of the base.
        horizons_s: S seconds.
        progress_m: forward along the trajectory.
        met: of it and of others.
        swept: of it.
        row: its row among the views and points.
    """

    trajectory: Motion
    horizons_s: Sequence[float]
    progress_m: float
    met: Encounters
    swept: Sweep
    row: int

    @classmethod
    def each(cls, trajectories: Trajectories, met: Encounters) -> list[Assessed]:
        """The trajectories that were swept together."""
        shares = len(met.points[0]) == 1
        at_horizons = zip(trajectories.poses, trajectories.until_horizons, met.swept, strict=True)
        return [
            cls(until, trajectories.horizons_s, progress(poses), met, swept, 0 if shares else row)
            for row, (poses, until, swept) in enumerate(at_horizons)
        ]

    @property
    def goal_distance(self) -> float | None:
        """To the goal picture, see `SeenAhead`."""
        return self.met.seen.goal_distances[self.row]

    def scenes(self, horizon: int) -> list[Scene]:
        """The views of all cameras at a horizon."""
        return [views.scenes[self.row] for views in self.met.seen.views[horizon]]


def sweep_seen(
    cameras: Sequence[Camera],
    trajectories: Trajectories,
    seen_from: Sequence[Motion],
    present: Sequence[CameraViews],
    ahead: SeenAhead,
    options: ImagineOptions,
) -> Encounters:
    """Sweep the footprint along trajectories through what is seen on them.

    What goes out of view, such as a car beside the robot, stays where it was seen last.

    Args:
        cameras: that saw it.
        trajectories: K of them.
        seen_from: (V, S, 3) places of the base that the views ahead are of, by camera: the
            trajectories' own, or those of a single one.
        present: of each camera, one row; may be empty.
        ahead: V rows.
        options: footprint, obstacles and thresholds.
    """
    rows, footprint, horizons_s = len(seen_from[0]), options.footprint, trajectories.horizons_s
    cell_m = cell_of(footprint.radius_m)
    instants: list[tuple[float, list[Motion], Sequence[CameraViews]]] = []
    if present:
        then = [np.tile(camera.base, (rows, 1)) for camera in cameras]
        instants.append((0.0, then, _repeated(present, rows)))
    for k, horizon_s in enumerate(horizons_s):
        instants.append((horizon_s, [bases[:, k] for bases in seen_from], ahead.views[k]))
    points: list[PointRows] = []
    ground: list[list[GroundViews]] = []
    for _, places, seen in instants:
        here, parts = [], []
        for camera, bases, views in zip(cameras, places, seen, strict=True):
            poses = np.stack([pose_of(base) for base in bases]) @ camera.mount.base_from_optical
            here.append(GroundViews(camera.mount.view, poses, views.depth))
            parts.append(views.points.moved(bases))
        found = PointRows.joined(parts)
        if points:
            found = PointRows.joined([found, _out_of_view(points[-1], here)])
        points.append(found.thinned(cell_m))
        ground.append(here)
    first = len(instants) - len(horizons_s)
    count = len(trajectories.poses)
    now = np.zeros((count, first, 3))
    swept = sweep_trajectories(
        points,
        np.concatenate([now, trajectories.poses], axis=1),
        footprint,
        [horizon_s for horizon_s, _, _ in instants],
        contact_probability=options.contact_probability,
        views=ground,
        step_m=max(STEP_M, _STEP_OF_RADIUS * footprint.radius_m),
        rows=np.zeros(count, np.intp) if rows == 1 else None,
        times_s=[0.0] * first + list(trajectories.times_s),
    )
    return Encounters(swept, points[first:], ahead)


def _repeated(views: Sequence[CameraViews], rows: int) -> list[CameraViews]:
    """Views of a single trajectory, as those of several that begin alike."""
    return [
        CameraViews(
            list(one.scenes) * rows,
            PointRows.of([one.points[0]] * rows),
            np.broadcast_to(one.depth, (rows, *one.depth.shape[1:])),
        )
        for one in views
    ]


def _out_of_view(points: PointRows, views: Sequence[GroundViews]) -> PointRows:
    """Those points at whose places no camera looks."""
    places, left = points.points.xyz.astype(np.float64), np.arange(len(points.points))
    for view in views:
        left = left[~view.sees(points.row[left], places[left])]
    kept = np.zeros(len(places), bool)
    kept[left] = True
    return points.where(kept)


@dataclass(frozen=True, eq=False)
class ScoredWay:
    """A candidate that was compared with the others."""

    index: int
    assessed: Assessed
    total: float
    costs: Weights
    progress_m: float
    reason: str
    outside: NDArray[np.bool_]

    def given(self, cameras: Sequence[str], maps: bool, points: bool) -> ImaginedCandidate:
        """As it is handed out."""
        assessed = self.assessed
        steps = assessed.swept.steps[-len(assessed.trajectory) :]
        return ImaginedCandidate(
            self.index,
            self.total,
            self.costs,
            self.progress_m,
            assessed.swept.time_to_contact_s,
            self.reason,
            tuple(
                ImaginedHorizon(
                    horizon_s=float(assessed.horizons_s[k]),
                    motion=assessed.trajectory[k],
                    probability_occupied=step.probability_occupied,
                    least_distance_m=step.least_distance_m,
                    class_id=step.class_id,
                    unknown=step.unknown,
                    is_outside_range=bool(self.outside[k]),
                    scenes=dict(zip(cameras, assessed.scenes(k), strict=True)) if maps else {},
                    points=assessed.met.points[k][assessed.row] if points else None,
                )
                for k, step in enumerate(steps)
            ),
        )


def scored(
    found: Sequence[Assessed],
    outside: NDArray[np.bool_],
    options: ImagineOptions,
    class_names: Sequence[str],
) -> list[ScoredWay]:
    """Costs, totals and what speaks against each but the best."""
    progresses = [assessed.progress_m for assessed in found]
    farthest = max(*progresses, 0.0)
    costs = [
        _costs(assessed, one, farthest, options)
        for assessed, one in zip(found, progresses, strict=True)
    ]
    totals = [float(np.dot(options.weights, cost)) for cost in costs]
    best = int(np.argmin(totals))
    scored = []
    for index, assessed in enumerate(found):
        gaps = np.array(options.weights) * (np.array(costs[index]) - np.array(costs[best]))
        reason = ""
        if index != best:
            reason = _reason(
                assessed,
                gaps,
                progresses[best] - progresses[index],
                class_names,
                is_outside=bool(outside[index].any()),
            )
        scored.append(
            ScoredWay(
                index,
                assessed,
                totals[index],
                costs[index],
                progresses[index],
                reason,
                outside[index],
            )
        )
    return scored


def _costs(
    assessed: Assessed, progress_m: float, farthest_m: float, options: ImagineOptions
) -> Weights:
    steps = assessed.swept.steps[-len(assessed.trajectory) :]
    last = steps[-1]
    nearness = 0.0
    if options.safe_distance_m > 0:
        nearness = 1 - min(last.least_distance_m / options.safe_distance_m, 1.0)
    behind = (farthest_m - progress_m) / farthest_m if farthest_m > 0 else 0.0
    if assessed.goal_distance is not None:
        behind = assessed.goal_distance
    return Weights(
        occupied=float(np.mean([step.probability_occupied for step in steps])),
        distance=nearness,
        unknown=0.0 if np.isnan(last.unknown) else last.unknown,
        progress=float(np.clip(behind, 0.0, 1.0)),
    )


def _reason(
    assessed: Assessed,
    gaps: NDArray[np.float64],
    less_m: float,
    class_names: Sequence[str],
    is_outside: bool,
) -> str:
    """In words, the cost by which a candidate loses most against the best one."""
    last = assessed.swept.steps[-1]
    worst = Weights._fields[int(np.argmax(gaps))]
    name = class_name(last.class_id, class_names) or "something"
    if gaps.max() <= 0:
        text = "as good as the best"
    elif worst == "occupied":
        swept, probability = assessed.swept, last.probability_occupied
        when = f" in {swept.time_to_contact_s:.1f} s" if swept.contact else ""
        text = f"meets {name}{when} (probability {probability:.2f})"
    elif worst == "distance":
        text = f"passes {name} at {last.least_distance_m:.2f} m"
    elif worst == "unknown":
        text = f"{100 * last.unknown:.0f} % of its trajectory is not seen"
    elif assessed.goal_distance is not None:
        text = (
            f"its view is less like the goal's ({100 * assessed.goal_distance:.0f} % as far as now)"
        )
    else:
        text = f"{less_m:.1f} m less progress"
    return text + ("; faster than the model was trained for" if is_outside else "")
