"""Everything that moves by itself, as a function of time: vehicles, cyclists, pedestrians, lights.

Streams of actors are numbered: actor k of a stream starts k spacings along the road and moves at
the stream's speed, so any instant can be looked up without a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.synthetic import people, props
from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.ego import EgoPlan, EgoState, Event, Road
from dino_foresight_ros.synthetic.faces import Array, Faces
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.materials import Materials
from dino_foresight_ros.synthetic.scene import signal_places, vehicle_caster
from dino_foresight_ros.synthetic.vehicles import PAINTS, SHAPES, car, truck


@dataclass(frozen=True)
class Stream:
    """Actors on one lateral line. `kind` is "vehicle", "cyclist" or "pedestrian"."""

    kind: str
    number: int
    d_m: float
    speed_mps: float  # along the road, negative towards the ego
    spacing_m: float
    share: float  # how many of the numbered actors exist


class Traffic:
    """All moving objects of a world."""

    def __init__(
        self,
        seed: int,
        conditions: Conditions,
        layout: RoadLayout,
        plan: EgoPlan,
        road: Road,
        materials: Materials,
    ) -> None:
        self._seed, self._conditions, self._layout = seed, conditions, layout
        self._plan, self._road, self._materials = plan, road, materials
        rng = np.random.default_rng([seed, 12])
        self._streams = self._choose_streams(rng)
        self._lead_phase = float(rng.uniform(0, 6.28))
        self._lead_gap_m = float(rng.uniform(5.0, 22.0))
        self._has_lead = bool(rng.random() < 0.25 + 0.6 * conditions.traffic)

    def at(
        self, t_s: float, ego: EgoState, camera: Array, view_m: float
    ) -> tuple[list[Faces], list[Array]]:
        """Polygons and shadow casters of all actors within view at a time."""
        faces: list[Faces] = []
        casters: list[Array] = []
        crowd = people.Crowd()
        if self._has_lead:
            self._lead(ego, faces, casters)
        for stream in self._streams:
            self._run(stream, t_s, ego, view_m, faces, crowd, casters)
        for event in self._plan.events_between(ego.s_m - 5.0, ego.s_m + 90.0):
            if event.kind == "light":
                self._lights(event, t_s, faces)
            if event.kind != "turn":
                self._crossers(event, t_s, crowd, casters)
        return faces + crowd.faces(self._materials, camera), casters

    def _choose_streams(self, rng: np.random.Generator) -> list[Stream]:
        c, layout = self._conditions, self._layout
        streams: list[Stream] = []

        def add(kind: str, d: float, speed: float, spacing: float, share: float) -> None:
            streams.append(Stream(kind, len(streams), d, speed, spacing, share))

        cruise = max(c.cruise_speed_mps, 7.0)
        spacing = 18.0 + 1.3 * cruise
        for index in range(layout.lanes_backward):
            speed = -cruise * rng.uniform(0.75, 1.1)
            add("vehicle", layout.lane_center(False, index), speed, spacing, 0.75 * c.traffic)
        for index in range(layout.lanes_forward):
            if index != layout.ego_lane:
                faster = (
                    rng.uniform(1.02, 1.3) if index < layout.ego_lane else rng.uniform(0.6, 0.85)
                )
                add(
                    "vehicle",
                    layout.lane_center(True, index),
                    cruise * faster,
                    spacing,
                    0.8 * c.traffic,
                )
        if c.scene in ("urban", "suburban"):
            share = 0.75 * c.pedestrians * (1.0 if c.scene == "urban" else 0.5)
            for side in (1, -1):
                edge = layout.half_width(side) + layout.verge_m
                for speed in (rng.uniform(1.0, 1.6), -rng.uniform(1.0, 1.6)):
                    d = side * (edge + layout.sidewalk_m * rng.uniform(0.35, 0.8))
                    add("pedestrian", d, speed, 11.0, share)
        if c.scene != "highway":
            for forward in (True, False):
                side = layout.side if forward else -layout.side
                d = side * (layout.lanes_edge(side) + min(layout.shoulder_m, 0.4) - 0.35)
                speed = rng.uniform(3.5, 6.0) * (1 if forward else -1)
                add("cyclist", d, speed, 30.0, 0.45 * c.pedestrians)
        return streams

    def _run(
        self,
        stream: Stream,
        t_s: float,
        ego: EgoState,
        view_m: float,
        faces: list[Faces],
        crowd: people.Crowd,
        casters: list[Array],
    ) -> None:
        view = min(view_m, {"vehicle": 160.0, "cyclist": 90.0, "pedestrian": 70.0}[stream.kind])
        moved = stream.speed_mps * t_s
        first = int(np.floor((ego.s_m - 14.0 - moved) / stream.spacing_m))
        last = int(np.ceil((ego.s_m + view - moved) / stream.spacing_m))
        for k in range(first, last + 1):
            # Numbers may be negative; the generator wants them not to be.
            rng = np.random.default_rng([self._seed, 13, stream.number, k % (1 << 32)])
            if rng.random() > stream.share:
                continue
            s = k * stream.spacing_m + rng.uniform(-0.3, 0.3) * stream.spacing_m + moved
            if not ego.s_m - 14.0 < s < ego.s_m + view or s < 0:
                continue
            if stream.kind == "vehicle":
                self._vehicle(rng, stream, s, faces, casters)
            else:
                self._person(rng, stream, s, t_s, crowd, casters)

    def _pose(self, s: float, d: float, backward: bool) -> tuple[Array, float]:
        yaw = float(self._road.pose(s)[0, 2]) + (np.pi if backward else 0.0)
        return self._road.point(s, d)[0], yaw

    def _vehicle(
        self,
        rng: np.random.Generator,
        stream: Stream,
        s: float,
        faces: list[Faces],
        casters: list[Array],
    ) -> None:
        at, yaw = self._pose(s, stream.d_m + rng.uniform(-0.25, 0.25), stream.speed_mps < 0)
        self._draw_vehicle(rng, at, yaw, False, faces, casters)

    def _draw_vehicle(
        self,
        rng: np.random.Generator,
        at: Array,
        yaw: float,
        braking: bool,
        faces: list[Faces],
        casters: list[Array],
    ) -> None:
        big = rng.random() < (0.2 if self._conditions.scene == "highway" else 0.1)
        paint = PAINTS[rng.integers(len(PAINTS))]
        if big:
            bus = bool(rng.random() < 0.4) and self._conditions.scene != "highway"
            model, size = (
                truck(self._materials, bus),
                ((11.0, 2.5, 3.0) if bus else (8.0, 2.4, 3.3)),
            )
            paint = PAINTS[int(rng.choice([0, 0, 4, 5, 8]))]
        else:
            index = int(rng.integers(len(SHAPES)))
            shape = SHAPES[index]
            model = car(self._materials, index, braking)
            size = (shape.length_m, shape.width_m, shape.height_m)
        faces.append(model.tinted(paint).placed(yaw, at))
        casters.append(vehicle_caster(at, yaw, *size))

    def _lead(self, ego: EgoState, faces: list[Faces], casters: list[Array]) -> None:
        """A vehicle ahead in the ego's lane; its gap depends on place and speed only."""
        gap = 9.0 + self._lead_gap_m * (1.2 + np.sin(ego.s_m / 55.0 + self._lead_phase))
        s = ego.s_m + gap + 0.7 * ego.speed_mps
        at, yaw = self._pose(s, self._layout.ego_d_m, False)
        rng = np.random.default_rng([self._seed, 14])
        self._draw_vehicle(
            rng, at, yaw, ego.acceleration_mps2 < -0.4 or ego.speed_mps < 0.3, faces, casters
        )

    def _person(
        self,
        rng: np.random.Generator,
        stream: Stream,
        s: float,
        t_s: float,
        crowd: people.Crowd,
        casters: list[Array],
    ) -> None:
        at, yaw = self._pose(s, stream.d_m + rng.uniform(-0.3, 0.3), stream.speed_mps < 0)
        look = people.choose_look(rng)
        phase = float(rng.uniform(0, 6.28))
        if stream.kind == "cyclist":
            phase += t_s * abs(stream.speed_mps) * 1.3
            crowd.add_cyclist(look, phase, yaw, at)
            casters.append(vehicle_caster(at, yaw, 1.7, 0.4, 1.7))
        else:
            at = at + (0.0, 0.0, self._layout.kerb_m)
            phase += t_s * abs(stream.speed_mps) * 4.0
            crowd.add_pedestrian(look, phase, 1.0, yaw, at)
            casters.append(vehicle_caster(at, yaw, 0.4, 0.5, 1.7))

    def _lights(self, event: Event, t_s: float, faces: list[Faces]) -> None:
        green = not event.start_s - 6.0 < t_s < event.end_s - 0.3
        for d in signal_places(self._layout):
            at, yaw = self._pose(event.s_m + 0.8, d, True)
            faces.append(props.signal_head(self._materials, at, 2.9, yaw, green))

    def _crossers(
        self, event: Event, t_s: float, crowd: people.Crowd, casters: list[Array]
    ) -> None:
        """People who wait at a crosswalk and cross while the ego waits or comes near."""
        layout = self._layout
        rng = np.random.default_rng([self._seed, 15, int(event.s_m * 10)])
        right, left = -layout.half_width(-1) - 0.8, layout.half_width(1) + 0.8
        lane = 2.5 if event.kind == "yield" else 3.1
        for _ in range(1 + int(rng.integers(0, 4) * self._conditions.pedestrians + 0.5)):
            pace = float(rng.uniform(1.2, 1.7))
            from_left = bool(rng.random() < 0.5)
            start = event.start_s + rng.uniform(-3.0, 0.8)
            s = event.s_m + lane + rng.uniform(-1.1, 1.1)
            look, phase = people.choose_look(rng), float(rng.uniform(0, 6.28))
            done = float(np.clip((t_s - start) * pace, 0.0, left - right + 8.0))
            walking = 0.0 < done < left - right + 8.0
            over = min(done, left - right)
            d = left - over if from_left else right + over
            # Once across, walk away along the sidewalk.
            heading = float(self._road.pose(s)[0, 2])
            yaw = heading + (-np.pi / 2 if from_left else np.pi / 2)
            if done > left - right:
                s += done - (left - right)
                yaw = heading
            on_road = -layout.half_width(-1) < d < layout.half_width(1)
            at = self._road.point(s, d, 0.0 if on_road else layout.kerb_m)[0]
            crowd.add_pedestrian(look, phase + done * 4.0, 1.0 if walking else 0.0, yaw, at)
            casters.append(vehicle_caster(at, yaw, 0.4, 0.5, 1.7))
