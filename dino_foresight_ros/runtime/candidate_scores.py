"""What the robot meets on its ways through imagined views, and what each way costs."""

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
    sweep_ways,
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


class Ways(NamedTuple):
    """Ways that the base might go.

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

    def taken(self, rows: slice) -> Ways:
        """Some of them."""
        return self._replace(poses=self.poses[rows])


class MetOnWays(NamedTuple):
    """What is around some ways, and what the footprint meets on them.

    Attributes:
        swept: of each way.
        points: of each horizon, thinned, in the base frame of now.
        seen: what was imagined, of as many rows as the points have.
    """

    swept: list[Sweep]
    points: list[PointRows]
    seen: SeenAhead


@dataclass(frozen=True, eq=False)
class Judged:
    """A way before it is compared with the others.

    Attributes:
        way: (S, 3) motion of the base.
        horizons_s: S seconds.
        progress_m: forward along the way.
        met: of it and of others.
        swept: of it.
        row: its row among the views and points.
    """

    way: Motion
    horizons_s: Sequence[float]
    progress_m: float
    met: MetOnWays
    swept: Sweep
    row: int

    @classmethod
    def each(cls, ways: Ways, met: MetOnWays) -> list[Judged]:
        """The ways that were swept together."""
        shares = len(met.points[0]) == 1
        at_horizons = zip(ways.poses, ways.until_horizons, met.swept, strict=True)
        return [
            cls(until, ways.horizons_s, progress(poses), met, swept, 0 if shares else row)
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
    ways: Ways,
    seen_from: Sequence[Motion],
    present: Sequence[CameraViews],
    ahead: SeenAhead,
    options: ImagineOptions,
) -> MetOnWays:
    """Sweep the footprint along ways through what is seen on them.

    What goes out of view, such as a car beside the robot, stays where it was seen last.

    Args:
        cameras: that saw it.
        ways: K of them.
        seen_from: (V, S, 3) places of the base that the views ahead are of, by camera: the ways'
            own, or those of a single one.
        present: of each camera, one row; may be empty.
        ahead: V rows.
        options: footprint, obstacles and thresholds.
    """
    rows, footprint, horizons_s = len(seen_from[0]), options.footprint, ways.horizons_s
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
    count = len(ways.poses)
    now = np.zeros((count, first, 3))
    swept = sweep_ways(
        points,
        np.concatenate([now, ways.poses], axis=1),
        footprint,
        [horizon_s for horizon_s, _, _ in instants],
        contact_probability=options.contact_probability,
        views=ground,
        step_m=max(STEP_M, _STEP_OF_RADIUS * footprint.radius_m),
        rows=np.zeros(count, np.intp) if rows == 1 else None,
        times_s=[0.0] * first + list(ways.times_s),
    )
    return MetOnWays(swept, points[first:], ahead)


def _repeated(views: Sequence[CameraViews], rows: int) -> list[CameraViews]:
    """Views of a single way, as those of several that begin alike."""
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
    judged: Judged
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
                    scenes=dict(zip(cameras, judged.scenes(k), strict=True)) if maps else {},
                    points=judged.met.points[k][judged.row] if points else None,
                )
                for k, step in enumerate(steps)
            ),
        )


def scored(
    found: Sequence[Judged],
    outside: NDArray[np.bool_],
    options: ImagineOptions,
    class_names: Sequence[str],
) -> list[ScoredWay]:
    """Costs, totals and what speaks against each but the best."""
    progresses = [judged.progress_m for judged in found]
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
            ScoredWay(
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
    judged: Judged, progress_m: float, farthest_m: float, options: ImagineOptions
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
    judged: Judged,
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
