"""A collision monitor by the rules of nav2's: stop and slowdown polygons, and approach by time.

Like nav2_collision_monitor it takes points of all its sources as one cloud, forecasts among them,
and limits the speed that the driver asks for: a stop polygon sets it to 0, a slowdown polygon to a
fraction of it, and approach keeps the time to the first contact of the simulated footprint above a
limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.driving.maneuvers import KEEP, control_of, ego_footprint, trajectory_of
from dino_foresight_ros.driving.perception import Perception
from dino_foresight_ros.driving.policies import Choice
from dino_foresight_ros.obstacles import Footprint, ObstaclePoints
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.synthetic import Control, Drive, Frame


@dataclass(frozen=True)
class MonitorOptions:
    """As nav2's parameters of the same names.

    Attributes:
        stop_length_m: of the stop polygon ahead of the bumper.
        slowdown_length_m: of the slowdown polygon ahead of the bumper.
        slowdown_ratio: fraction of the speed that is left in it.
        time_before_collision_s: approach keeps the contact so far away in time.
        simulation_time_step_s: of approach.
        min_points: that make an obstacle; of clouds that were thinned to what is no noise, 1.
        side_m: by which the polygons are wider than the ego, on each side.
        brake_mps2: with which a lower speed is reached.
    """

    stop_length_m: float = 2.0
    slowdown_length_m: float = 5.0
    slowdown_ratio: float = 0.4
    time_before_collision_s: float = 1.8
    simulation_time_step_s: float = 0.1
    min_points: int = 1
    side_m: float = 0.25
    brake_mps2: float = 6.0


class CollisionMonitor:
    """A driver at the road's speed whom a monitor holds back."""

    def __init__(self, perception: Perception, options: MonitorOptions | None = None) -> None:
        self.perception = perception
        self._options = options = options or MonitorOptions()
        body = ego_footprint(0.0).corners
        front, half = float(body[:, 0].max()), float(body[:, 1].max()) + options.side_m
        self._stop = _ahead(front, options.stop_length_m, half)
        self._slowdown = _ahead(front, options.slowdown_length_m, half)
        self._body = ego_footprint(options.side_m)

    @property
    def needs_picture(self) -> bool:
        """Whether the world has to be rendered for it."""
        return self.perception.needs_picture

    def choose(self, drive: Drive, frame: Frame | None) -> Choice:
        """The driver's control, limited."""
        self.perception.see(drive, frame)
        keep = trajectory_of(drive, KEEP)
        seen = self.perception.around(keep)
        # Clouds that are the same at all times are one.
        cloud = ObstaclePoints.joined(list({id(points): points for points in seen}.values()))
        asked = control_of(drive, KEEP)
        wanted = drive.comfortable_speed()
        allowed, reason = self.limit(cloud.xyz[:, :2], wanted, drive.ego.speed_mps, asked)
        if allowed >= wanted:
            return Choice(asked, "go", False)
        slower = float(
            np.clip(5.0 * (allowed - drive.ego.speed_mps), -self._options.brake_mps2, 1.5)
        )
        acceleration = min(asked.acceleration_mps2, slower)
        stops = is_stop(allowed, reason, drive.ego.speed_mps)
        return Choice(Control(acceleration, asked.curvature_1pm), reason, stops, reason)

    def limit(
        self, places: NDArray[np.float32], wanted_mps: float, speed_mps: float, asked: Control
    ) -> tuple[float, str]:
        """Speed that is allowed, and by which rule.

        Args:
            places: (N, 2) points in the base frame.
            wanted_mps: speed that the driver would like.
            speed_mps: that it has.
            asked: what it asks for.
        """
        options, allowed, reason = self._options, wanted_mps, ""
        if self._stop.contains(places).sum() >= options.min_points:
            return 0.0, "stop"
        if self._slowdown.contains(places).sum() >= options.min_points:
            allowed, reason = options.slowdown_ratio * wanted_mps, "slowdown"
        moving = max(speed_mps, 0.5)
        contact_s = self.time_to_contact_s(places, moving, asked.curvature_1pm)
        if contact_s < options.time_before_collision_s:
            approach = moving * contact_s / options.time_before_collision_s
            if approach < allowed:
                allowed, reason = approach, "approach"
        return allowed, reason

    def time_to_contact_s(
        self, places: NDArray[np.float32], speed_mps: float, curvature_1pm: float
    ) -> float:
        """Seconds until the footprint meets `min_points` points at a constant twist."""
        options = self._options
        reach = speed_mps * options.time_before_collision_s + self._body.radius_m
        near = places[np.abs(places).max(axis=1, initial=0.0) < reach].astype(np.float64)
        steps = np.arange(
            1, int(options.time_before_collision_s / options.simulation_time_step_s) + 1
        )
        for time_s in steps * options.simulation_time_step_s:
            x, y, yaw = of_twist((speed_mps, 0.0, speed_mps * curvature_1pm), time_s)
            turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
            if self._body.contains((near - (x, y)) @ turn).sum() >= options.min_points:
                return float(time_s)
        return float("inf")


def is_stop(allowed_mps: float, reason: str, speed_mps: float) -> bool:
    """Whether a limit of the monitor makes the robot stop, or nearly so."""
    return reason == "stop" or (bool(reason) and allowed_mps < max(0.5 * speed_mps, 0.5))


def _ahead(front_m: float, length_m: float, half_m: float) -> Footprint:
    """A rectangle from the bumper on."""
    end = front_m + length_m
    return Footprint([[end, half_m], [front_m, half_m], [front_m, -half_m], [end, -half_m]])
