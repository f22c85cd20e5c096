"""Road users that react to the ego: crossing pedestrians, a braking car ahead, cars that cut in.

They are moved step by step beside the ego, by rules without chance; the seed draws who is where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.synthetic import identity
from dino_foresight_ros.synthetic.ego import START_S_M, EgoState, Road
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.people import Look, choose_look
from dino_foresight_ros.synthetic.road_users import RoadUser, box_outline, gap_m
from dino_foresight_ros.synthetic.scene import Scenery
from dino_foresight_ros.synthetic.setting import Setting
from dino_foresight_ros.synthetic.streams import Streams, Vehicle

HAZARDS = ("crossing", "braking", "cut_in")
_ROUTE_M = 1600.0
_HARD_MPS2 = 6.0
_GENTLE_MPS2 = 2.0
_LANE_CHANGE_MPS = 1.6


@dataclass(frozen=True)
class Walk:
    """Someone who walks up to the road as the ego comes, and crosses, or stops at the kerb.

    Attributes:
        start_d_m, end_d_m: lateral places of the walk's beginning and end.
        starts_at_m: how far the ego still is when it begins.
        done_m: how far it has gone; None before it begins.
        waiting: whether it stands because somebody is in the way.
    """

    instance: int
    s_m: float
    start_d_m: float
    end_d_m: float
    starts_at_m: float
    pace_mps: float
    look: Look
    phase_rad: float
    done_m: float | None = None
    waiting: bool = False

    @property
    def is_under_way(self) -> bool:
        return self.done_m is not None and self.done_m < abs(self.end_d_m - self.start_d_m)

    @property
    def toward(self) -> float:
        """1 to the left, -1 to the right."""
        return float(np.sign(self.end_d_m - self.start_d_m))

    @property
    def d_m(self) -> float:
        return self.start_d_m + self.toward * (self.done_m or 0.0)


@dataclass(frozen=True)
class Car:
    """A car ahead that brakes now and then, or one that comes into the lane before the ego.

    It comes from the kerb, or out of the lane beside.

    Attributes:
        cruise_mps: its speed in the ego's lane when nothing holds it up.
        beside_mps: its speed before it comes; 0 at the kerb.
        starts_at_m: it comes when it is so far ahead of the ego, between the least and the most.
        stops: (N, 4) when it brakes: seconds of driving before it, deceleration, speed it brakes
            to, seconds it stays so.
        clock_s: time within the stop at hand.
    """

    instance: int
    s_m: float
    d_m: float
    speed_mps: float
    cruise_mps: float
    lane_d_m: float
    vehicle: Vehicle
    beside_mps: float = 0.0
    starts_at_m: tuple[float, float] = (0.0, 0.0)
    stops: tuple[tuple[float, float, float, float], ...] = ()
    clock_s: float = 0.0
    drives: bool = True
    acceleration_mps2: float = 0.0
    lean_rad: float = 0.0

    @property
    def is_beside(self) -> bool:
        """Whether it drives in the lane beside the ego's."""
        return not self.drives and self.beside_mps > 0.0


Hazard = Walk | Car


class Hazards:
    """The reacting road users of a world; `first` are their states at the start."""

    def __init__(
        self, setting: Setting, scenery: Scenery, streams: Streams, kinds: Sequence[str]
    ) -> None:
        unknown = [kind for kind in kinds if kind not in HAZARDS]
        if unknown:
            raise UsageError(f"hazard is {unknown[0]!r}; it must be one of {', '.join(HAZARDS)}")
        self._road, self._layout, self._streams = setting.road, setting.layout, streams
        rng = np.random.default_rng([setting.seed, 21])
        cruise = max(setting.conditions.cruise_speed_mps, 5.0)
        found: list[Hazard] = []
        has_people = setting.conditions.scene in ("urban", "suburban")
        # Without people at the road, cars are all that can happen.
        if rng.random() < (0.5 if has_people else 1.0) and "braking" in kinds:
            found.append(_car_ahead(rng, setting.layout, streams, cruise))
        s = START_S_M + 45.0
        while s < _ROUTE_M:
            draw, at = np.random.default_rng([setting.seed, 22, int(s)]), s
            s += float(draw.uniform(40.0, 80.0))
            kind = "cut_in" if draw.random() < 0.25 else "crossing"
            if kind not in kinds:
                continue
            if kind == "crossing":
                found += [_walk(draw, setting.layout, at, cruise)] if has_people else []
            else:
                car = _car_at_kerb(draw, setting, scenery, streams, at, cruise)
                if car is None:
                    car = _car_beside(draw, setting, streams, at, cruise, found)
                found += [car] if car is not None else []
        self.first: tuple[Hazard, ...] = tuple(
            replace(one, instance=identity.reacting(number)) for number, one in enumerate(found)
        )

    def step(
        self,
        states: Sequence[Hazard],
        ego: EgoState,
        ego_outline: np.ndarray,
        t_s: float,
        dt: float,
    ) -> tuple[Hazard, ...]:
        """States after `dt` seconds beside the ego."""
        beside = [one for one in states if isinstance(one, Car) and one.is_beside]
        return tuple(
            self._walk_on(one, ego, ego_outline, t_s, dt, beside)
            if isinstance(one, Walk)
            else _drive_on(one, states, ego, self._road, dt)
            for one in states
        )

    def users(self, states: Sequence[Hazard], s_m: float, view_m: float) -> list[RoadUser]:
        """Those within view of an arc length."""
        near = [one for one in states if s_m - 20.0 < one.s_m < s_m + view_m]
        return [
            self._walker(one) if isinstance(one, Walk) else _driver(one, self._road) for one in near
        ]

    def _walker(self, walk: Walk) -> RoadUser:
        at, yaw = self._road.placed(walk.s_m, walk.d_m)
        edges = -self._layout.half_width(-1), self._layout.half_width(1)
        at[2] = 0.0 if edges[0] < walk.d_m < edges[1] else self._layout.kerb_m
        goes = walk.is_under_way and not walk.waiting
        return RoadUser(
            walk.instance,
            at,
            yaw + walk.toward * np.pi / 2,
            walk.pace_mps if goes else 0.0,
            look=walk.look,
            phase_rad=walk.phase_rad + (walk.done_m or 0.0) * 4.0,
            stride=1.0 if goes else 0.0,
        )

    def _walk_on(
        self,
        walk: Walk,
        ego: EgoState,
        ego_outline: np.ndarray,
        t_s: float,
        dt: float,
        beside: Sequence[Car],
    ) -> Walk:
        if walk.done_m is None:
            near = 0.0 < walk.s_m - ego.s_m <= walk.starts_at_m
            return replace(walk, done_m=0.0) if near else walk
        if not walk.is_under_way:
            return walk
        waiting = self._in_the_way(walk, ego, ego_outline, t_s, beside)
        return replace(
            walk, waiting=waiting, done_m=walk.done_m + (0 if waiting else walk.pace_mps * dt)
        )

    def _in_the_way(
        self,
        walk: Walk,
        ego: EgoState,
        ego_outline: np.ndarray,
        t_s: float,
        beside: Sequence[Car],
    ) -> bool:
        """Whether the ego stands before the walker, or a vehicle of another lane would meet it."""
        ahead = walk.d_m + walk.toward * 0.7
        if ego.speed_mps < 0.5 and abs(walk.s_m - ego.s_m) < 8.0:
            at, yaw = self._road.placed(walk.s_m, ahead)
            if gap_m(box_outline(at, yaw, 0.6, 1.4), ego_outline) == 0.0:
                return True
        for stream in self._streams.all:
            before = (stream.d_m - walk.d_m) * walk.toward
            if stream.kind == "vehicle" and 1.3 < before < 2.4:
                reach = abs(stream.speed_mps) * 2.2 + 4.0
                low, high = (-reach, 6.0) if stream.speed_mps > 0 else (-6.0, reach)
                if self._streams.between(stream, t_s, walk.s_m + low, walk.s_m + high):
                    return True
        return any(
            1.3 < (car.d_m - walk.d_m) * walk.toward < 2.4
            and -car.beside_mps * 2.2 - 4.0 < car.s_m - walk.s_m < 6.0
            for car in beside
        )


def _walk(rng: np.random.Generator, layout: RoadLayout, s_m: float, cruise: float) -> Walk:
    """Most cross from the near side; every fourth walks up to the kerb and stops there."""
    side = layout.side if rng.random() < 0.75 else -layout.side
    edge = side * (layout.half_width(side) + 0.5)
    start = edge + side * float(rng.uniform(0.2, max(min(layout.sidewalk_m - 0.6, 2.0), 0.3)))
    stops = rng.random() < 0.25
    end = edge if stops else -side * (layout.half_width(-side) + 0.8)
    pace = float(rng.uniform(1.2, 2.4))
    # So that it is in the lane's middle when an ego at cruising speed comes by, give or take.
    meets_s = abs(layout.ego_d_m - start) / pace + float(rng.uniform(-0.3, 0.9))
    return Walk(
        0, s_m, start, end, cruise * max(meets_s, 0.8), pace,
        choose_look(rng), float(rng.uniform(0, 6.28)),
    )  # fmt: skip


def _car_ahead(
    rng: np.random.Generator, layout: RoadLayout, streams: Streams, cruise: float
) -> Car:
    stops = tuple(
        (
            float(rng.uniform(4.0, 9.0)),
            float(rng.uniform(3.5, 7.0)),
            float(rng.choice([0.0, 0.0, 0.3 * cruise])),
            float(rng.uniform(1.0, 3.0)),
        )
        for _ in range(64)
    )
    gap = 8.0 + cruise * float(rng.uniform(0.8, 1.6))
    d, vehicle = layout.ego_d_m, streams.vehicle(rng)
    return Car(0, START_S_M + gap, d, 0.85 * cruise, cruise, d, vehicle, stops=stops)


def _car_at_kerb(
    rng: np.random.Generator,
    setting: Setting,
    scenery: Scenery,
    streams: Streams,
    s_m: float,
    cruise: float,
) -> Car | None:
    """A car in the parking lane beside the ego's, with room ahead; None where there is none."""
    layout, vehicle = setting.layout, streams.vehicle(rng)
    starts_s, speed = float(rng.uniform(1.2, 2.8)), float(rng.uniform(0.4, 0.7)) * cruise
    if layout.parking_m <= 0.0 or layout.ego_lane != layout.lanes_forward - 1:
        return None
    d = layout.side * (layout.half_width(layout.side) - layout.parking_m / 2)
    for place in s_m + np.arange(0.0, 24.0, 3.0):
        at, yaw = setting.road.placed(float(place) + 3.0, d)
        room = box_outline(at, yaw, vehicle.size[0] + 7.0, vehicle.size[1])
        if all(gap_m(room, one.outline) > 0.3 for one in scenery.parked(place - 15, place + 20)):
            return Car(
                0, float(place), d, 0.0, speed, layout.ego_d_m, vehicle,
                starts_at_m=(0.0, cruise * starts_s + 4.0), drives=False,
            )  # fmt: skip
    return None


def _car_beside(
    rng: np.random.Generator,
    setting: Setting,
    streams: Streams,
    s_m: float,
    cruise: float,
    others: Sequence[Hazard],
) -> Car | None:
    """A car in a gap of the traffic beside the ego's lane, which comes into it near `s_m`.

    A slower one comes as the ego catches up with it; a faster one once it has passed. None where
    there is no lane beside, or no gap in it.
    """
    layout, vehicle = setting.layout, streams.vehicle(rng)
    slows = float(rng.uniform(0.45, 0.75))
    lanes = [
        stream
        for stream in streams.all
        if stream.kind == "vehicle"
        and stream.speed_mps > 0
        and 0.5 < abs(stream.d_m - layout.ego_d_m) / layout.lane_m < 1.5
    ]
    if not lanes:
        return None
    stream = lanes[int(rng.integers(len(lanes)))]
    speed, half = stream.speed_mps, vehicle.size[0] / 2
    near = 1.8 + half
    if speed < cruise:
        at_m = (near + 3.0, near + 2.0 + cruise * float(rng.uniform(0.6, 1.6)))
    else:
        at_m = (near + float(rng.uniform(3.0, 7.0)), near + 20.0)
    # Where it has to be at the start, so that it is there when an ego at cruising speed is.
    wanted = s_m + at_m[0] - (s_m - START_S_M) / cruise * speed
    taken = [one.s_m for one in others if isinstance(one, Car) and one.is_beside]
    for place in wanted + np.array([0.0, 4.0, -4.0, 8.0, -8.0, 12.0, -12.0]):
        rows = streams.between(stream, 0.0, float(place) - 30.0, float(place) + 30.0)
        room = all(
            actor.vehicle is None or abs(at - place) > half + actor.vehicle.size[0] / 2 + 3.0
            for actor, at in rows
        )
        alone = all(abs(at - place) > 20.0 for at in taken)
        if room and alone and place > half + 1.0 and abs(place - START_S_M) > half + 4.0:
            return Car(
                0, float(place), stream.d_m, speed, slows * cruise, layout.ego_d_m, vehicle,
                beside_mps=speed, starts_at_m=at_m, drives=False,
            )  # fmt: skip
    return None


def _drive_on(car: Car, states: Sequence[Hazard], ego: EgoState, road: Road, dt: float) -> Car:
    if not car.drives:
        near = car.starts_at_m[0] < car.s_m - ego.s_m <= car.starts_at_m[1]
        beside = any(
            isinstance(one, Car) and one.drives and -12.0 < one.s_m - car.s_m < 8.0
            for one in states
        )
        return replace(car, s_m=car.s_m + car.beside_mps * dt, drives=near and not beside)
    wanted, clock, stops = car.cruise_mps, car.clock_s + dt, car.stops
    rate = _GENTLE_MPS2
    if stops:
        before_s, hard, slow, stay_s = stops[0]
        if clock > before_s:
            wanted, rate = slow, hard if car.speed_mps > slow else _GENTLE_MPS2
        if clock > before_s + stay_s + max(car.cruise_mps - slow, 0.0) / hard:
            clock, stops = 0.0, stops[1:]
    # It waits for an ego that has fallen behind, so that it stays what lies ahead.
    wanted *= float(np.clip(1.0 - (car.s_m - ego.s_m - 40.0) / 40.0, 0.0, 1.0))
    wanted = min(wanted, comfortable_speed(road, car.s_m, car.speed_mps))
    if _must_stop(car, states):
        wanted, rate = 0.0, _HARD_MPS2
    change = float(np.clip(wanted - car.speed_mps, -max(rate, 2.5) * dt, _GENTLE_MPS2 * dt))
    speed = max(car.speed_mps + change, 0.0)
    side = car.lane_d_m - car.d_m
    most = min(0.35 * speed, _LANE_CHANGE_MPS if car.beside_mps else np.inf)
    sideways = float(np.clip(0.8 * side, -most, most))
    lean = float(np.arctan2(sideways, max(speed, 0.5))) if abs(side) > 0.01 else 0.0
    return replace(
        car, s_m=car.s_m + speed * dt, d_m=car.d_m + sideways * dt, speed_mps=speed,
        clock_s=clock, stops=stops, acceleration_mps2=change / dt, lean_rad=lean,
    )  # fmt: skip


def _must_stop(car: Car, states: Sequence[Hazard]) -> bool:
    """Whether a walker or another of these cars is in its lane, too near to go on."""
    reach = car.speed_mps**2 / (2 * _HARD_MPS2 - 2) + car.vehicle.size[0] / 2 + 2.0
    for one in states:
        ahead = one.s_m - car.s_m
        if one is car or not ahead > 0.0:
            continue
        if isinstance(one, Walk):
            soon = one.d_m + one.toward * one.pace_mps * 0.8
            low, high = sorted((one.d_m, soon))
            if one.is_under_way and ahead < reach and low < car.d_m + 1.4 and high > car.d_m - 1.4:
                return True
        elif (
            one.drives
            and ahead < reach + one.vehicle.size[0] / 2 + 1.5
            and (abs(one.d_m - car.d_m) < 2.0 and one.speed_mps < car.speed_mps + 0.5)
        ):
            return True
    return False


def _driver(car: Car, road: Road) -> RoadUser:
    at, yaw = road.placed(car.s_m, car.d_m)
    braking = car.acceleration_mps2 < -0.4 or (car.speed_mps < 0.3 and car.drives)
    return RoadUser(
        car.instance, at, yaw + car.lean_rad, car.speed_mps, car.vehicle, braking=braking
    )


def comfortable_speed(road: Road, s_m: float, speed_mps: float) -> float:
    """Speed (m/s) at which the bends of the next two seconds push sideways by 2.2 m/s^2 at most."""
    ahead = np.linspace(0.0, 5.0 + 2.0 * speed_mps, 8)
    bend = float(np.abs(road.pose(s_m + ahead)[:, 3]).max())
    return float(np.sqrt(2.2 / max(bend, 1e-4)))
