"""Endless streams of actors, each at constant speed along its own line.

Actor k of a stream starts about k spacings along the road, so any instant can be looked up
without a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dino_foresight_ros.synthetic import identity
from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.faces import Faces
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.materials import Materials
from dino_foresight_ros.synthetic.people import Look, choose_look
from dino_foresight_ros.synthetic.vehicles import PAINTS, SHAPES, car, truck

BEHIND_M = 14.0
_VIEW_M = {"vehicle": 160.0, "cyclist": 90.0, "pedestrian": 70.0}


@dataclass(frozen=True)
class Stream:
    """Actors on one lateral line. `kind` is "vehicle", "cyclist" or "pedestrian"."""

    kind: str
    number: int
    d_m: float
    speed_mps: float  # along the road, negative towards the ego
    spacing_m: float
    fraction: float  # how many of the numbered actors exist


@dataclass(frozen=True)
class Vehicle:
    """What a vehicle looks like, braking and not; length, width and height in metres."""

    model: Faces
    braking: Faces
    size: tuple[float, float, float]


@dataclass(frozen=True)
class Actor:
    """One actor of a stream: its number, where it starts, and a vehicle or a person."""

    instance: int
    s0_m: float
    d_m: float
    vehicle: Vehicle | None
    look: Look | None
    phase_rad: float


class Streams:
    """All streams of a world and their actors."""

    def __init__(
        self, seed: int, conditions: Conditions, layout: RoadLayout, materials: Materials
    ) -> None:
        self._seed, self._scene, self._materials = seed, conditions.scene, materials
        self.all = _choose_streams(np.random.default_rng([seed, 12]), conditions, layout)
        # Actors stay in view for hundreds of frames.
        self.actor = lru_cache(maxsize=1024)(self._make_actor)

    def near(
        self, stream: Stream, t_s: float, s_m: float, view_m: float
    ) -> list[tuple[Actor, float]]:
        """Actors of a stream from behind `s_m` to within view, and their arc lengths."""
        low, high = s_m - BEHIND_M, s_m + min(view_m, _VIEW_M[stream.kind])
        return self.between(stream, t_s, low, high)

    def between(
        self, stream: Stream, t_s: float, low_m: float, high_m: float
    ) -> list[tuple[Actor, float]]:
        """Actors of a stream between two arc lengths at a time."""
        moved = stream.speed_mps * t_s
        first = int(np.floor((low_m - moved) / stream.spacing_m)) - 1
        last = int(np.ceil((high_m - moved) / stream.spacing_m)) + 1
        found = []
        for k in range(first, last + 1):
            actor = self.actor(stream, k)
            if actor is not None and max(low_m, 0.0) < actor.s0_m + moved < high_m:
                found.append((actor, actor.s0_m + moved))
        return found

    def vehicle(self, rng: np.random.Generator) -> Vehicle:
        """Draw a vehicle."""
        big = rng.random() < (0.2 if self._scene == "highway" else 0.1)
        if big:
            bus = bool(rng.random() < 0.4) and self._scene != "highway"
            paint = PAINTS[int(rng.choice([0, 0, 4, 5, 8]))]
            model = truck(self._materials, bus).tinted(paint)
            return Vehicle(model, model, (11.0, 2.5, 3.0) if bus else (8.0, 2.4, 3.3))
        index, paint = int(rng.integers(len(SHAPES))), PAINTS[rng.integers(len(PAINTS))]
        calm = car(self._materials, index, False).tinted(paint)
        braking = car(self._materials, index, True).tinted(paint)
        shape = SHAPES[index]
        return Vehicle(calm, braking, (shape.length_m, shape.width_m, shape.height_m))

    def _make_actor(self, stream: Stream, k: int) -> Actor | None:
        # Numbers may be negative; the generator wants them not to be.
        rng = np.random.default_rng([self._seed, 13, stream.number, k % (1 << 32)])
        if rng.random() > stream.fraction:
            return None
        s0 = (k + rng.uniform(-0.3, 0.3)) * stream.spacing_m
        d = stream.d_m + rng.uniform(-0.25, 0.25)
        is_vehicle = stream.kind == "vehicle"
        return Actor(
            instance=identity.of_stream(stream.number, k),
            s0_m=float(s0),
            d_m=float(d),
            vehicle=self.vehicle(rng) if is_vehicle else None,
            look=None if is_vehicle else choose_look(rng),
            phase_rad=float(rng.uniform(0, 6.28)),
        )


def _choose_streams(
    rng: np.random.Generator, c: Conditions, layout: RoadLayout
) -> tuple[Stream, ...]:
    streams: list[Stream] = []

    def add(kind: str, d: float, speed: float, spacing: float, fraction: float) -> None:
        streams.append(Stream(kind, len(streams), d, float(speed), spacing, fraction))

    cruise = max(c.cruise_speed_mps, 7.0)
    spacing = 18.0 + 1.3 * cruise
    for index in range(layout.lanes_backward):
        speed = -cruise * rng.uniform(0.75, 1.1)
        add("vehicle", layout.lane_center(False, index), speed, spacing, 0.75 * c.traffic)
    for index in range(layout.lanes_forward):
        if index == layout.ego_lane:
            continue
        faster = rng.uniform(1.02, 1.3) if index < layout.ego_lane else rng.uniform(0.6, 0.85)
        add("vehicle", layout.lane_center(True, index), cruise * faster, spacing, 0.8 * c.traffic)
    if c.scene in ("urban", "suburban"):
        fraction = 0.75 * c.pedestrians * (1.0 if c.scene == "urban" else 0.5)
        for side in (1, -1):
            edge = layout.half_width(side) + layout.verge_m
            for speed in (rng.uniform(1.0, 1.6), -rng.uniform(1.0, 1.6)):
                d = side * (edge + layout.sidewalk_m * rng.uniform(0.4, 0.8))
                add("pedestrian", d, speed, 11.0, fraction)
    if c.scene != "highway":
        for forward in (True, False):
            side = layout.side if forward else -layout.side
            d = side * (layout.lanes_edge(side) + min(layout.shoulder_m, 0.4) - 0.35)
            speed = rng.uniform(3.5, 6.0) * (1 if forward else -1)
            add("cyclist", d, speed, 30.0, 0.45 * c.pedestrians)
    return tuple(streams)
