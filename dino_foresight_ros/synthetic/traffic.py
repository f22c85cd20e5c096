"""Everything that moves by itself, as a function of time: vehicles, people, traffic lights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dino_foresight_ros.synthetic import identity, props
from dino_foresight_ros.synthetic.ego import EgoState, Event
from dino_foresight_ros.synthetic.faces import Array, Faces
from dino_foresight_ros.synthetic.people import Look, choose_look
from dino_foresight_ros.synthetic.road_users import Moving, RoadUser
from dino_foresight_ros.synthetic.roadside import signal_places
from dino_foresight_ros.synthetic.setting import Setting
from dino_foresight_ros.synthetic.streams import Stream, Streams, Vehicle

_NEVER_S = 1e12
_WALK_ON_M = 8.0


@dataclass(frozen=True)
class Walker:
    """Someone at a crosswalk, who waits and then crosses from `start_s` on, or never does."""

    instance: int
    s_m: float
    from_left: bool
    pace_mps: float
    start_s: float
    look: Look
    phase_rad: float


class Traffic:
    """All moving objects of a world."""

    def __init__(self, setting: Setting) -> None:
        seed, conditions = setting.seed, setting.conditions
        self._seed, self._conditions, self._layout = seed, conditions, setting.layout
        self._plan, self._road, self._materials = setting.plan, setting.road, setting.materials
        self.streams = Streams(seed, conditions, setting.layout, setting.materials)
        rng = np.random.default_rng([seed, 14])
        self._lead_phase = float(rng.uniform(0, 6.28))
        self._lead_gap_m = float(rng.uniform(5.0, 22.0))
        has_lead = rng.random() < 0.25 + 0.6 * conditions.traffic
        self._lead: Vehicle | None = self.streams.vehicle(rng) if has_lead else None
        self._walkers = lru_cache(maxsize=64)(self._make_walkers)

    def at(
        self,
        t_s: float,
        ego: EgoState,
        camera: Array,
        view_m: float,
        others: Sequence[RoadUser] | None = None,
    ) -> tuple[list[Faces], list[Array]]:
        """Polygons and shadow casters within view of an ego at a time.

        `others` take the place of the vehicle ahead, which goes by the ego's own plan.
        """
        moving = Moving()
        for user in self.road_users(t_s, ego, view_m, others):
            moving.add(user)
        for event in self._events_near(ego):
            if event.kind == "light":
                self._add_lights(event, t_s, moving)
        return moving.faces(self._materials, camera), moving.casters

    def road_users(
        self, t_s: float, ego: EgoState, view_m: float, others: Sequence[RoadUser] | None = None
    ) -> Iterator[RoadUser]:
        """All that move, within view of an ego at a time; `others` as of `at`."""
        if others is not None:
            yield from others
        elif self._lead is not None:
            yield self._lead_user(self._lead, ego)
        for stream in self.streams.all:
            yield from self._stream_users(stream, t_s, ego, view_m)
        for event in self._events_near(ego):
            if event.kind != "turn":
                for walker in self._walkers(event):
                    yield self._walker_user(walker, t_s)

    def _events_near(self, ego: EgoState) -> list[Event]:
        return self._plan.events_between(ego.s_m - 5.0, ego.s_m + 90.0)

    def _lead_user(self, vehicle: Vehicle, ego: EgoState) -> RoadUser:
        """A vehicle ahead in the ego's lane; its gap depends on place and speed only.

        It stops beyond the crosswalk at which the ego stops, so that people can cross between.
        """
        gap = 9.5 + vehicle.size[0] / 2
        gap += self._lead_gap_m * (1.0 + float(np.sin(ego.s_m / 55.0 + self._lead_phase)))
        at, yaw = self._road.placed(ego.s_m + gap + 0.7 * ego.speed_mps, self._layout.ego_d_m)
        braking = ego.acceleration_mps2 < -0.4 or ego.speed_mps < 0.3
        return RoadUser(identity.LEAD, at, yaw, ego.speed_mps, vehicle, braking=braking)

    def _stream_users(
        self, stream: Stream, t_s: float, ego: EgoState, view_m: float
    ) -> Iterator[RoadUser]:
        speed = abs(stream.speed_mps)
        per_m = {"vehicle": 0.0, "cyclist": 1.3, "pedestrian": 4.0}[stream.kind]
        for actor, s in self.streams.near(stream, t_s, ego.s_m, view_m):
            at, yaw = self._road.placed(s, actor.d_m, stream.speed_mps < 0)
            if stream.kind == "pedestrian":
                at[2] = self._layout.kerb_m
            yield RoadUser(
                actor.instance,
                at,
                yaw,
                speed,
                actor.vehicle,
                actor.look,
                cyclist=stream.kind == "cyclist",
                phase_rad=actor.phase_rad + t_s * speed * per_m,
            )

    def _add_lights(self, event: Event, t_s: float, moving: Moving) -> None:
        green = not event.start_s - 6.0 < t_s < event.end_s - 0.3
        for s, d in signal_places(self._layout, event):
            at, yaw = self._road.placed(s, d, backward=True)
            moving.add_faces(props.signal_head(self._materials, at, 2.9, yaw, green))

    def _edges(self) -> tuple[float, float]:
        """Where people wait, on the right and on the left of the road."""
        return -self._layout.half_width(-1) - 0.8, self._layout.half_width(1) + 0.8

    def _walker_user(self, walker: Walker, t_s: float) -> RoadUser:
        layout = self._layout
        right, left = self._edges()
        width = left - right
        done = float(np.clip((t_s - walker.start_s) * walker.pace_mps, 0.0, width + _WALK_ON_M))
        across = min(done, width)
        d = left - across if walker.from_left else right + across
        at, yaw = self._road.placed(walker.s_m + done - across, d)
        # Once across, they walk away along the sidewalk.
        if done <= width:
            yaw += -np.pi / 2 if walker.from_left else np.pi / 2
        on_road = -layout.half_width(-1) < d < layout.half_width(1)
        at[2] = 0.0 if on_road else layout.kerb_m
        stride = 1.0 if 0.0 < done < width + _WALK_ON_M else 0.0
        return RoadUser(
            walker.instance,
            at,
            yaw,
            stride * walker.pace_mps,
            look=walker.look,
            phase_rad=walker.phase_rad + done * 4.0,
            stride=stride,
        )

    def _make_walkers(self, event: Event) -> list[Walker]:
        rng = np.random.default_rng([self._seed, 15, int(event.s_m * 10)])
        lane = 2.5 if event.kind == "yield" else 3.1
        walkers = []
        for number in range(1 + int(rng.integers(0, 4) * self._conditions.pedestrians + 0.5)):
            s, from_left = event.s_m + lane + rng.uniform(-1.1, 1.1), bool(rng.random() < 0.5)
            pace, first = float(rng.uniform(1.2, 1.7)), event.start_s + rng.uniform(-3.0, 0.0)
            start = self._safe_start(event, float(s), from_left, pace, float(first))
            look, phase = choose_look(rng), float(rng.uniform(0, 6.28))
            instance = identity.crossing(event.s_m, number)
            walkers.append(Walker(instance, float(s), from_left, pace, start, look, phase))
        return walkers

    def _safe_start(
        self, event: Event, s: float, from_left: bool, pace: float, first_s: float
    ) -> float:
        """The first start from `first_s` on at which no vehicle is met on the way."""
        right, left = self._edges()
        for start in first_s + 0.6 * np.arange(16):

            def passing(d: float, start: float = float(start)) -> float:
                return start + (left - d if from_left else d - right) / pace

            ego_lane_clear = passing(self._layout.ego_d_m) + 1.3 / pace < event.end_s + 0.4
            if ego_lane_clear and not any(
                self._meets(stream, passing(stream.d_m), s, 2.0 / pace)
                for stream in self.streams.all
                if stream.kind == "vehicle"
            ):
                return float(start)
        return _NEVER_S

    def _meets(self, stream: Stream, t_s: float, s: float, within_s: float) -> bool:
        """Whether a vehicle of the stream passes `s` within some seconds of a time."""
        swept = abs(stream.speed_mps) * (within_s + 0.4) + 4.0
        return bool(self.streams.between(stream, t_s, s - swept, s + swept))
