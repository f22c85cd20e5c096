"""How the ego vehicle moves: a speed profile, and a road that bends where it slows down.

The profile is drawn first, leg by leg; events (a red light, a turn, a crosswalk) are placed where
its legs happen to end, so no control loop is needed and any instant can be looked up.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.faces import Array

START_S_M = 60.0
_GRID_M = 0.5
_EVENT_ODDS = {
    "urban": (("light", 0.3), ("yield", 0.3), ("turn", 0.25)),
    "suburban": (("light", 0.12), ("yield", 0.3), ("turn", 0.35)),
    "rural": (("turn", 0.45),),
    "highway": (),
}
_MIN_RADIUS_M = {"urban": 90.0, "suburban": 80.0, "rural": 170.0, "highway": 500.0}


@dataclass(frozen=True)
class Leg:
    """From `t0_s` at `s0_m` the speed eases from `v0` to `v1` (m/s) within `duration_s`."""

    t0_s: float
    s0_m: float
    v0: float
    v1: float
    duration_s: float

    def at(self, t_s: float) -> tuple[float, float, float]:
        """Arc length (m), speed (m/s) and acceleration (m/s^2)."""
        x = min(max((t_s - self.t0_s) / self.duration_s, 0.0), 1.0)
        rise = self.v1 - self.v0
        s = self.s0_m + self.duration_s * (self.v0 * x + rise * (x**3 - x**4 / 2))
        return (
            s,
            self.v0 + rise * (3 * x**2 - 2 * x**3),
            rise * 6 * (x - x**2) / self.duration_s,
        )


@dataclass(frozen=True)
class Event:
    """Something of the road at arc length `s_m`; the ego waits there from start to end."""

    kind: str  # "light", "yield" or "turn"
    s_m: float
    length_m: float
    start_s: float
    end_s: float
    curvature: float = 0.0


class EgoPlan:
    """The ego's motion along the road, extended as far as it is asked for."""

    def __init__(self, seed: int, conditions: Conditions) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self._scene = conditions.scene
        # Slower than a crawl is standing still: a fixed street camera.
        self._cruise = conditions.cruise_speed_mps if conditions.cruise_speed_mps >= 0.5 else 0.0
        start = self._cruise * self._rng.uniform(0.6, 1.0)
        self._legs = [Leg(0.0, START_S_M, start, start, 2.0)]
        self._starts = [0.0]
        self.events: list[Event] = []

    def at(self, t_s: float) -> tuple[float, float, float]:
        """Arc length (m), speed (m/s) and acceleration (m/s^2) at a time."""
        while self._end_s() < t_s:
            self._extend()
        return self._legs[bisect.bisect_right(self._starts, max(t_s, 0.0)) - 1].at(t_s)

    def reach(self, s_m: float) -> None:
        """Extend the plan to at least an arc length; events up to there are then known."""
        if self._cruise <= 0.0:
            return
        while self._legs[-1].s0_m < s_m:
            self._extend()

    def events_between(self, low_m: float, high_m: float) -> list[Event]:
        """Events whose place overlaps [low_m, high_m]."""
        self.reach(high_m + 30.0)
        return [e for e in self.events if e.s_m <= high_m and e.s_m + e.length_m >= low_m]

    def _end_s(self) -> float:
        return self._legs[-1].t0_s + self._legs[-1].duration_s

    def _append(self, speed: float, duration_s: float) -> None:
        last, t0 = self._legs[-1], self._end_s()
        s0, v0, _ = last.at(t0)
        self._legs.append(Leg(t0, s0, v0, speed, duration_s))
        self._starts.append(t0)

    def _here(self) -> tuple[float, float, float]:
        t = self._end_s()
        s, v, _ = self._legs[-1].at(t)
        return t, s, v

    def _extend(self) -> None:
        rng = self._rng
        if self._cruise <= 0.0:
            self._append(0.0, 10.0)
            return
        speed = self._cruise * rng.uniform(0.7, 1.0)
        self._change_to(speed, rng.uniform(0.6, 1.4))
        self._append(speed, rng.uniform(2.0, 7.0))
        draw = rng.random()
        for kind, odds in _EVENT_ODDS[self._scene]:
            draw -= odds
            if draw < 0:
                {"light": self._light, "yield": self._yield, "turn": self._turn}[kind]()
                break

    def _change_to(self, speed: float, acceleration: float) -> None:
        _, _, v = self._here()
        self._append(speed, max(abs(speed - v) / acceleration, 1.0))

    def _light(self) -> None:
        rng = self._rng
        self._change_to(0.0, rng.uniform(1.3, 2.3))
        t, s, _ = self._here()
        wait = rng.uniform(2.0, 4.5)
        self._append(0.0, wait)
        self.events.append(Event("light", s + 3.5, 22.0, t, t + wait))

    def _yield(self) -> None:
        rng = self._rng
        slow = float(rng.choice([0.0, 1.5]))
        self._change_to(slow, rng.uniform(1.3, 2.3))
        t, s, _ = self._here()
        wait = rng.uniform(1.5, 3.0)
        self._append(slow, wait)
        self.events.append(Event("yield", s + slow * wait + 4.0, 4.0, t, t + wait))

    def _turn(self) -> None:
        rng = self._rng
        slow = min(self._cruise * 0.85, rng.uniform(6.0, 9.0) if self._scene != "rural" else 11.0)
        self._change_to(slow, rng.uniform(1.0, 1.8))
        t, s, _ = self._here()
        radius = max(slow**2 / 2.2, 26.0)
        length = radius * rng.uniform(0.6, 1.25) + 16.0
        self._append(slow, length / slow)
        self.events.append(Event("turn", s, length, t, t + length / slow, 1.0 / radius))


class Road:
    """The road's centre line: smooth curvature, integrated on a fine grid."""

    def __init__(self, seed: int, conditions: Conditions, plan: EgoPlan) -> None:
        self._rng = np.random.default_rng([seed, 3])
        self._plan = plan
        self._radius = _MIN_RADIUS_M[conditions.scene]
        self._s_end = 0.0
        self._state = np.zeros((1, 4))  # x, y, heading, curvature on the grid
        self._wiggle_until, self._wiggle = 80.0, 0.0
        self._turn_signs: dict[Event, float] = {}

    def pose(self, s: Array | float) -> Array:
        """Centre line at arc lengths (N,): x (m), y (m), heading (rad), curvature (1/m): (N, 4)."""
        s = np.atleast_1d(np.asarray(s, dtype=np.float64))
        self._reach(float(s.max()) + 2.0)
        where = np.clip(s / _GRID_M, 0.0, len(self._state) - 1.001)
        index = where.astype(np.intp)
        step = (s - index * _GRID_M)[:, None]
        base, following = self._state[index], self._state[index + 1]
        fraction = step / _GRID_M
        out = base + (following - base) * fraction
        heading = base[:, 2:3] + base[:, 3:4] * step / 2
        out[:, :1] = base[:, :1] + np.cos(heading) * step
        out[:, 1:2] = base[:, 1:2] + np.sin(heading) * step
        return out

    def point(self, s: Array | float, d: Array | float, z: Array | float = 0.0) -> Array:
        """World points (N, 3) at arc length `s` and `d` metres to the left of the centre line."""
        s, d, z = np.broadcast_arrays(np.atleast_1d(s), d, z)
        pose = self.pose(s)
        x = pose[:, 0] - np.sin(pose[:, 2]) * d
        y = pose[:, 1] + np.cos(pose[:, 2]) * d
        return np.stack([x, y, z], axis=1)

    def pose_at(self, s_m: float) -> tuple[float, float, float, float]:
        """As `pose` of one arc length, an order of magnitude faster."""
        self._reach(s_m + 2.0)
        index = int(min(max(s_m / _GRID_M, 0.0), len(self._state) - 1.001))
        step = s_m - index * _GRID_M
        x, y, heading, bend = self._state[index].tolist()
        after = float(self._state[index + 1, 3])
        middle = heading + bend * step / 2
        turned = heading + bend * step
        bend += (after - bend) * step / _GRID_M
        return x + math.cos(middle) * step, y + math.sin(middle) * step, turned, bend

    def placed(self, s_m: float, d_m: float, backward: bool = False) -> tuple[Array, float]:
        """Place (3,) on the ground, and the yaw of who goes along the road or against it there."""
        x, y, heading, _ = self.pose(s_m)[0]
        at = np.array([x - np.sin(heading) * d_m, y + np.cos(heading) * d_m, 0.0])
        return at, float(heading) + (np.pi if backward else 0.0)

    def _reach(self, s_m: float) -> None:
        while self._s_end < s_m:
            self._extend(256)

    def _extend(self, cells: int) -> None:
        s0 = self._s_end
        events = list(self._plan.events_between(s0 - 60, s0 + cells * _GRID_M + 60))
        rows = np.empty((cells, 4))
        x, y, heading, curvature = self._state[-1]
        for i in range(cells):
            wanted = self._wanted(s0 + i * _GRID_M, heading, events)
            limit = 0.004 * _GRID_M if wanted == 0 or abs(wanted) > 0.012 else 0.0008 * _GRID_M
            middle = heading + curvature * _GRID_M / 2
            x, y = x + np.cos(middle) * _GRID_M, y + np.sin(middle) * _GRID_M
            heading += curvature * _GRID_M
            curvature += float(np.clip(wanted - curvature, -limit, limit))
            rows[i] = x, y, heading, curvature
        self._state = np.concatenate([self._state, rows])
        self._s_end += cells * _GRID_M

    def _wanted(self, s: float, heading: float, events: list[Event]) -> float:
        """The curvature the road should have here; turns win, crossings are straight."""
        for event in events:
            if event.kind == "turn" and event.s_m + 4 <= s <= event.s_m + event.length_m - 12:
                return event.curvature * self._turn_sign(event, heading)
            if event.kind != "turn" and event.s_m - 25 <= s <= event.s_m + event.length_m + 8:
                return 0.0
        if s >= self._wiggle_until:
            self._wiggle_until = s + self._rng.uniform(30.0, 120.0)
            sharp = self._rng.uniform(0.0, 1.0) / self._radius
            # Turning back towards the first heading keeps the road from crossing itself.
            back = self._rng.random() < 0.5 + min(abs(heading), 1.0) * 0.5
            sign = -np.sign(heading or 1.0) if back else np.sign(heading or 1.0)
            self._wiggle = 0.0 if self._rng.random() < 0.3 else float(sharp * sign)
        return self._wiggle

    def _turn_sign(self, event: Event, heading: float) -> float:
        if event not in self._turn_signs:
            toss = 1.0 if self._rng.random() < 0.5 else -1.0
            self._turn_signs[event] = -float(np.sign(heading)) if abs(heading) > 0.35 else toss
        return self._turn_signs[event]


class EgoState(NamedTuple):
    """Where the ego's camera is and how it moves."""

    s_m: float
    d_m: float
    yaw_rad: float
    speed_mps: float
    acceleration_mps2: float
    yaw_rate_rps: float


def ego_state(plan: EgoPlan, road: Road, lane_d_m: float, t_s: float) -> EgoState:
    """The ego keeps its lane with a slow sway, which depends on the place and not on time."""
    s, v_lane, acceleration = plan.at(t_s)

    def heading(at_s: float) -> float:
        pose = road.pose(at_s)[0]
        d_slope = 0.16 / 38.0 * np.cos(at_s / 38.0)
        return float(pose[2] + np.arctan(d_slope / (1 - pose[3] * lane_d_m)))

    d = lane_d_m + 0.16 * float(np.sin(s / 38.0))
    curvature = float(road.pose(s)[0, 3])
    scale = float(np.hypot(1 - curvature * d, 0.16 / 38.0 * np.cos(s / 38.0)))
    turn_per_m = (heading(s + 0.5) - heading(s - 0.5)) / 1.0
    return EgoState(s, d, heading(s), v_lane * scale, acceleration, v_lane * turn_per_m)
