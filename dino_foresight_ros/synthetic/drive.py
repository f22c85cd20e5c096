"""A world driven from outside: the ego goes where it is steered, the rest as its seed has it.

    drive = world.drive(hazards=HAZARDS)
    while drive.t_s < 20.0 and drive.contact() is None:
        frame = drive.render()
        drive.step(Control(acceleration_mps2=0.5, curvature_1pm=drive.lane_curvature()), 0.2)

What happens if is exactly known: `fork` gives a copy that can be driven otherwise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dino_foresight_ros.synthetic.ego import EgoState, Road
from dino_foresight_ros.synthetic.faces import Array
from dino_foresight_ros.synthetic.hazards import Hazard, Hazards, comfortable_speed
from dino_foresight_ros.synthetic.road_users import Obstacle, RoadUser, box_outline, gap_m

if TYPE_CHECKING:
    from dino_foresight_ros.synthetic.world import Frame, World

EGO_SIZE_M = (4.4, 1.8)
EGO_CENTER_M = -0.4
"""Length and width of the ego, and its middle in front of the base, which is below the camera."""
MAX_BRAKE_MPS2 = 7.0
MAX_ACCELERATION_MPS2 = 2.5
MAX_CURVATURE_1PM = 0.15
_TICK_S = 0.04
_NEAR_M = 40.0


class Control(NamedTuple):
    """What the driver asks for: acceleration (m/s^2) and curvature of the path (1/m, left +)."""

    acceleration_mps2: float
    curvature_1pm: float


class Drive:
    """The ego of a world, driven step by step; see the module's text.

    Attributes:
        t_s: the world's time.
        ego: where the ego is, the camera's place on the ground below it.
        travelled_m: how far it has come along the road.
    """

    def __init__(self, world: World, start_s: float = 0.0, hazards: Sequence[str] = ()) -> None:
        self.world = world
        self.t_s = float(start_s)
        self.ego: EgoState = world.ego_state(self.t_s)
        self.travelled_m = 0.0
        self._hazards = Hazards(world.setting, world.scenery, world.traffic.streams, hazards)
        self.states: tuple[Hazard, ...] = self._hazards.first

    def fork(self) -> Drive:
        """A copy that can be driven otherwise from here on; the world is shared."""
        return copy.copy(self)

    def alone(self) -> Drive:
        """A copy without the road users that react, to see where a control would lead."""
        ego = copy.copy(self)
        ego.states = ()
        return ego

    def step(self, control: Control, duration_s: float) -> None:
        """Drive on with one control, within what the vehicle can do.

        The ego moves as a bicycle model does with its base at the middle of the turn, in
        coordinates along and across the road.
        """
        ticks = max(round(duration_s / _TICK_S), 1)
        dt = duration_s / ticks
        road = self.world.setting.road
        wanted = float(np.clip(control.acceleration_mps2, -MAX_BRAKE_MPS2, MAX_ACCELERATION_MPS2))
        curvature = float(np.clip(control.curvature_1pm, -MAX_CURVATURE_1PM, MAX_CURVATURE_1PM))
        for _ in range(ticks):
            s, d, yaw, speed, _, _ = self.ego
            _, _, heading, bend = road.pose_at(s)
            angle = yaw - heading
            after = max(speed + wanted * dt, 0.0)
            along = 0.5 * (speed + after) * dt
            moved = along * math.cos(angle) / (1.0 - bend * d)
            turned = along * curvature
            # The mean direction of the tick; its end would drift outward in a bend.
            d += along * math.sin(angle + 0.5 * (turned - bend * moved))
            self.ego = EgoState(
                s + moved, d, yaw + turned, after, (after - speed) / dt, after * curvature
            )
            self.travelled_m += moved
            if self.states:
                outline = self.outline()
                self.states = self._hazards.step(self.states, self.ego, outline, self.t_s, dt)
            self.t_s += dt

    def lane_curvature(self, offset_m: float = 0.0) -> float:
        """Curvature (1/m) that leads to the lane's middle, `offset_m` to its left, and along it."""
        road, ego = self.world.setting.road, self.ego
        ahead = 4.0 + 0.9 * ego.speed_mps
        target = place_on(road, ego.s_m + ahead, self.world.layout.ego_d_m + offset_m)
        x, y = self.to_base(target[None])[0]
        return float(2.0 * y / max(x * x + y * y, 1.0))

    def comfortable_speed(self) -> float:
        """Speed (m/s) that the road ahead allows: the world's cruising speed, less in bends."""
        bends = comfortable_speed(self.world.setting.road, self.ego.s_m, self.ego.speed_mps)
        return min(self.world.conditions.cruise_speed_mps, bends)

    def render(self) -> Frame:
        """The picture that the camera sees now, with its truth."""
        return self.world.render(self.t_s, self.ego, self._others())

    def road_users(self, within_m: float = _NEAR_M) -> list[RoadUser]:
        """All that move now, from a little behind the ego to so far ahead."""
        return list(self.world.traffic.road_users(self.t_s, self.ego, within_m, self._others()))

    def obstacles(self, within_m: float = _NEAR_M) -> list[Obstacle]:
        """Exact outlines of all that move or are parked, from behind the ego to so far ahead."""
        s = self.ego.s_m
        parked = self.world.scenery.parked(s - 20.0, s + within_m)
        return [user.obstacle for user in self.road_users(within_m)] + parked

    def outline(self) -> Array:
        """The ego's outline (4, 2) in the world frame."""
        yaw = self.ego.yaw_rad
        middle = self.ego_xy + EGO_CENTER_M * np.array([np.cos(yaw), np.sin(yaw)])
        return box_outline(middle, yaw, *EGO_SIZE_M)

    def contact(self) -> Obstacle | None:
        """What the ego touches now, exactly; None where nothing."""
        outline = self.outline()
        near = self.ego_xy
        for one in self.obstacles(20.0):
            if np.abs(one.outline - near).max() < 20.0 and gap_m(one.outline, outline) == 0.0:
                return one
        return None

    @property
    def is_off_road(self) -> bool:
        """Whether a corner of the ego lies beyond a kerb."""
        layout, ego = self.world.layout, self.ego
        angle = ego.yaw_rad - float(self.world.setting.road.pose_at(ego.s_m)[2])
        reach = EGO_SIZE_M[1] / 2 * np.cos(angle) + EGO_SIZE_M[0] / 2 * abs(np.sin(angle))
        return not -layout.half_width(-1) < ego.d_m - reach < ego.d_m + reach < layout.half_width(1)

    @property
    def ego_xy(self) -> Array:
        """Place (2,) of the base in the world frame."""
        return place_on(self.world.setting.road, self.ego.s_m, self.ego.d_m)

    @property
    def world_from_base(self) -> Array:
        """Planar pose (4, 4) of the base: x forward, y left, z up, on the ground."""
        pose = np.eye(4)
        c, s = np.cos(self.ego.yaw_rad), np.sin(self.ego.yaw_rad)
        pose[:2, :2], pose[:2, 3] = [[c, -s], [s, c]], self.ego_xy
        return pose

    def to_base(self, points: Array) -> Array:
        """World points (N, 2) in the base's frame."""
        c, s = np.cos(self.ego.yaw_rad), np.sin(self.ego.yaw_rad)
        return (points - self.ego_xy) @ np.array([[c, -s], [s, c]])

    def _others(self) -> list[RoadUser]:
        view_m = self.world.config.view_distance_m
        return self._hazards.users(self.states, self.ego.s_m, view_m)


def place_on(road: Road, s_m: float, d_m: float) -> Array:
    """World point (2,) at an arc length and `d_m` to the left."""
    x, y, heading, _ = road.pose_at(s_m)
    return np.array([x - math.sin(heading) * d_m, y + math.cos(heading) * d_m])
