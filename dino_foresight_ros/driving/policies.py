"""Policies: which maneuver is chosen by what a perception tells of the trajectories ahead.

All of them choose by one rule, the first maneuver in order of preference on whose trajectory
nothing is met, so that they differ only in what they know.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dino_foresight_ros.driving.maneuvers import (
    BRAKE,
    BRAKE_HARD,
    KEEP,
    LEFT,
    RIGHT,
    TIMES_S,
    Maneuver,
    Trajectory,
    control_of,
    ego_footprint,
    trajectory_of,
)
from dino_foresight_ros.driving.perception import Perception
from dino_foresight_ros.obstacles import Footprint, ObstaclePoints, Sweep, sweep
from dino_foresight_ros.synthetic import Control, Drive, Frame

BRAKING = (KEEP, BRAKE, BRAKE_HARD)
STEERING = (KEEP, LEFT, RIGHT, BRAKE, BRAKE_HARD)
POLICIES = {
    "constant": "keeps its speed whatever comes",
    "sensor": "brakes for the true depth of the present",
    "present": "brakes for the present as the bundle's heads read it",
    "forecast": "brakes for the bundle's forecasts without its own motion",
    "imagine": "keeps on, goes left or right, brakes or brakes hard by what the bundle imagines",
    "oracle": "keeps on, goes left or right, brakes or brakes hard by the world's truth",
}
"""Name -> what it does. Those between `sensor` and `oracle` need a bundle."""


class Choice(NamedTuple):
    """What a driver does now.

    Attributes:
        control: for the world.
        name: of the maneuver, for pictures.
        stops: whether it brakes for something.
        reason: what it brakes for.
    """

    control: Control
    name: str
    stops: bool
    reason: str = ""


class Policy:
    """Drives by a perception; without one it keeps its speed."""

    def __init__(
        self, perception: Perception | None, maneuvers: tuple[Maneuver, ...] = BRAKING
    ) -> None:
        self.perception = perception
        self._maneuvers = maneuvers
        self._footprint = ego_footprint()

    @property
    def needs_picture(self) -> bool:
        """Whether the world has to be rendered for it."""
        return self.perception is not None and self.perception.needs_picture

    def choose(self, drive: Drive, frame: Frame | None) -> Choice:
        """Look, and choose."""
        if self.perception is None:
            return Choice(control_of(drive, KEEP), KEEP.name, False)
        self.perception.see(drive, frame)
        trajectories = [trajectory_of(drive, maneuver) for maneuver in self._maneuvers]
        usable = [w for w in trajectories if w.stays_on_road or w.maneuver.offset_m == 0.0]
        # The last one is left when all others meet something, whatever is on its own trajectory.
        chosen, reason = usable[-1].maneuver, ""
        for trajectory in usable[:-1]:
            swept = met_on(self.perception, trajectory, self._footprint)
            if not swept.contact:
                chosen = trajectory.maneuver
                break
            reason = reason or f"class {swept.class_id} in {swept.time_to_contact_s:.1f} s"
        return Choice(control_of(drive, chosen), chosen.name, chosen.brakes, reason)


def met_on(perception: Perception, trajectory: Trajectory, footprint: Footprint) -> Sweep:
    """What the footprint meets on a trajectory, by a perception."""
    points = [_along(trajectory, some, footprint) for some in perception.around(trajectory)]
    return sweep(points, trajectory.poses, footprint, TIMES_S, min_points=1)


def _along(trajectory: Trajectory, points: ObstaclePoints, footprint: Footprint) -> ObstaclePoints:
    """Those that the footprint can come near to on a trajectory: sweeping them takes less time."""
    places = np.vstack([np.zeros((1, 2)), trajectory.poses[:, :2]]).astype(np.float32)
    reach = np.float32(footprint.radius_m + 1.0)
    low, high = places.min(axis=0) - reach, places.max(axis=0) + reach
    near = ((points.xyz[:, :2] > low) & (points.xyz[:, :2] < high)).all(axis=1)
    off = points.xyz[near, None, :2] - places
    # Between two poses of a trajectory lie 6 m at most at the speeds of these worlds.
    near[near] = (off**2).sum(-1).min(axis=1) < (reach + 3.0) ** 2
    return ObstaclePoints(points.xyz[near], points.class_id[near], points.probability[near])
