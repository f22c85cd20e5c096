"""What stands along one stretch of the road: houses, gardens, woods, parked cars, furniture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.synthetic import foliage, houses, identity, props
from dino_foresight_ros.synthetic.ego import Event
from dino_foresight_ros.synthetic.faces import Array, Faces, by_corner_count
from dino_foresight_ros.synthetic.ground import STRIP_M, ground_faces, is_crossing
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.road_users import Obstacle, box_outline
from dino_foresight_ros.synthetic.setting import Setting
from dino_foresight_ros.synthetic.shadows import SHADOW_CORNERS, shadow_outline, vehicle_caster
from dino_foresight_ros.synthetic.vehicles import PAINTS, SHAPES, car, truck

CELL_M = 24.0
_SLOTS = 4  # for parked vehicles, on each side of a cell
_ZONES = {
    "urban": ("row", "row", "row", "park", "cottages"),
    "suburban": ("cottages", "cottages", "park", "row", "trees"),
    "rural": ("field", "field", "trees", "trees", "cottages"),
    "highway": ("bank", "bank", "trees", "noise", "field"),
}


@dataclass(frozen=True)
class Cell:
    """One stretch of the world: its polygons, and shadow outlines on the ground."""

    groups: list[Faces]
    shadows: Array  # (N, SHADOW_CORNERS, 3)
    parked: tuple[Obstacle, ...] = ()


class Roadside:
    """Builds the polygons and shadow casters of one cell."""

    def __init__(self, setting: Setting, index: int) -> None:
        self.seed = setting.seed
        self.scene = setting.conditions.scene
        self.conditions = setting.conditions
        self.layout, self.road = setting.layout, setting.road
        self.materials, self.light = setting.materials, setting.light
        self.rng = np.random.default_rng([self.seed, 6, index])
        self.s0, self.s1 = index * CELL_M, (index + 1) * CELL_M
        self.events = setting.plan.events_between(self.s0 - 40, self.s1 + 40)
        self.index = index
        self.parts: list[Faces] = []
        # Points (V, 3); the hull of their shadows is an object's shadow.
        self.casters: list[Array] = []
        self.parked: list[Obstacle] = []

    def build(self) -> Cell:
        block_rng = np.random.default_rng([self.seed, 7, self.index // 5])
        zones = {side: str(block_rng.choice(_ZONES[self.scene])) for side in (1, -1)}
        terrain = {"urban": "slabs", "suburban": "grass", "rural": "field", "highway": "grass"}
        self.parts += ground_faces(
            self.road,
            self.layout,
            self.materials,
            self.s0,
            self.s1,
            self.events,
            terrain[self.scene],
        )
        for side in (1, -1):
            self._side(side, zones[side])
        if self.layout.median_m > 0:
            self._line(0.0, "rail", 4.0)
        for event in self.events:
            if event.kind == "light" and self.s0 <= event.s_m < self.s1:
                self._corner_poles(event)
        outlines = [shadow_outline(points, self.light) for points in self.casters]
        shadows = np.array(outlines).reshape(-1, SHADOW_CORNERS, 3)
        return Cell(by_corner_count(self.parts), shadows, tuple(self.parked))

    def _free(self, s: float, margin: float = 2.0) -> bool:
        """Whether nothing of a crossing is within `margin` of an arc length."""
        places = np.arange(s - margin, s + margin + 0.1, 1.0)
        starts = np.floor(places / STRIP_M) * STRIP_M
        return not bool(is_crossing(starts, self.events).any())

    def _room(self, s: float, side: int) -> float:
        """How far out things may stand: on the inside of a bend its centre is the limit."""
        curvature = float(self.road.pose(s)[0, 3]) * side
        return 0.75 / curvature if curvature > 1e-6 else 1e9

    def _at(self, s: float, d: float) -> Array:
        return self.road.point(s, d)[0]

    def _heading(self, s: float) -> float:
        return float(self.road.pose(s)[0, 2])

    def _add(self, faces: list[Faces]) -> None:
        self.parts += faces

    def _disc_caster(self, at: Array, radius: float, z: float) -> None:
        angles = np.arange(10) * (2 * np.pi / 10)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ring *= radius * self.rng.uniform(0.75, 1.1, (10, 1))
        self.casters.append(np.hstack([at[:2] + ring, np.full((10, 1), z)]))

    def _side(self, side: int, zone: str) -> None:
        front = self.layout.front(side)
        if self.scene in ("urban", "suburban"):
            self._street_furniture(side)
        if self.layout.parking_m > 0:
            self._parked(side)
        {
            "row": self._row,
            "cottages": self._cottages,
            "park": self._park,
            "trees": self._woods,
            "field": self._field,
            "bank": self._bank,
            "noise": self._noise_wall,
        }[zone](side, front)

    def _row(self, side: int, front: float) -> None:
        rng, s = self.rng, self.s0
        setback = front + float(np.random.default_rng([self.seed, 8, side + 1]).uniform(0.2, 3.0))
        while s < self.s1 - 3:
            width = min(float(rng.uniform(8, 16)), self.s1 - s)
            if self.s1 - s - width < 5:
                width = self.s1 - s
            fits = self._free(s + width / 2, width / 2 + 1)
            if fits and setback + 8 < self._room(s + width / 2, side) and rng.random() < 0.95:
                count = max(round(width / 3.2), 1)
                places = np.linspace(s, s + width, count + 1)
                places = places if side > 0 else places[::-1]
                line = self.road.point(places, side * setback)[:, :2]
                heading = self._heading(s + width / 2)
                depth = 11.0 * side * np.array([-np.sin(heading), np.cos(heading)])
                height = float(rng.uniform(2.2, 6.4)) * 3.2
                self._add(houses.row_house(rng, self.materials, line, depth, height))
                base = np.array([line[0], line[-1], line[-1] + depth, line[0] + depth])
                self.casters.append(
                    np.vstack([np.hstack([base, np.full((4, 1), z)]) for z in (0.0, height)])
                )
            elif rng.random() < 0.6:
                self._tree(s + width / 2, side * (setback + 5))
            s += width

    def _cottages(self, side: int, front: float) -> None:
        rng = self.rng
        kind = str(
            np.random.default_rng([self.seed, 9, side + 1]).choice(
                ["hedge", "planks", "white", "wall", "none"]
            )
        )
        if kind == "hedge":
            self._hedge(side, front + 0.7, 1.4)
        elif kind != "none":
            self._line(side * (front + 0.3), kind, 4.0)
        s = self.s0 + rng.uniform(7, 15)
        d = side * (front + rng.uniform(9, 14))
        if self._free(s, 10) and abs(d) + 5 < self._room(s, side):
            yaw = self._heading(s) - side * np.pi / 2
            at = self._at(s, d)
            self._add(houses.cottage(rng, self.materials, at, yaw))
        for _ in range(rng.integers(1, 3)):
            self._tree(self.s0 + rng.uniform(0, CELL_M), side * (front + rng.uniform(2.5, 22)))

    def _park(self, side: int, front: float) -> None:
        self._hedge(side, front + 0.8, 1.1)
        for _ in range(3):
            self._tree(
                self.s0 + self.rng.uniform(0, CELL_M), side * (front + self.rng.uniform(3, 22))
            )

    def _woods(self, side: int, front: float) -> None:
        self._scrub(side, front + 2.5, front + 10, 7)
        for k in range(4):
            self._tree(
                self.s0 + (k + self.rng.random()) * CELL_M / 4,
                side * (front + self.rng.uniform(3.5, 16)),
            )

    def _field(self, side: int, front: float) -> None:
        if self.rng.random() < 0.5:
            self._line(side * (front + 1.2), "rail" if self.rng.random() < 0.5 else "planks", 4.0)
        self._scrub(side, front + 2.0, front + 6, 2)
        if self.rng.random() < 0.5:
            self._tree(
                self.s0 + self.rng.uniform(0, CELL_M), side * (front + self.rng.uniform(3, 35))
            )
        for _ in range(2):
            self._tree(
                self.s0 + self.rng.uniform(0, CELL_M), side * (front + self.rng.uniform(45, 58))
            )
        if self.index % 2 == 0 and self._free(self.s0 + 2):
            at = self._at(self.s0 + 2, side * (front + 2.2))
            self._add([props.pole(self.materials, at, 8.0, 0.12)])

    def _bank(self, side: int, front: float) -> None:
        self._line(side * (front + 0.5), "rail", 4.0)
        self._scrub(side, front + 2.5, front + 12, 9)
        if self.rng.random() < 0.7:
            self._tree(
                self.s0 + self.rng.uniform(0, CELL_M), side * (front + self.rng.uniform(6, 20))
            )

    def _noise_wall(self, side: int, front: float) -> None:
        self._line(side * (front + 0.5), "rail", 4.0)
        self._line(side * (front + 3.0), "noise", 4.0)
        self._tree(self.s0 + self.rng.uniform(0, CELL_M), side * (front + self.rng.uniform(6, 12)))

    def _street_furniture(self, side: int) -> None:
        rng, layout = self.rng, self.layout
        edge = layout.half_width(side) + 0.5
        if self.index % 2 == (side + 1) // 2:
            s = self.s0 + 6.0
            if self._free(s):
                at = self._at(s, side * edge)
                self._add(props.lamp(self.materials, at, self._heading(s) - side * np.pi / 2))
        if rng.random() < 0.35 and self._free(self.s0 + 15):
            s = self.s0 + 15.0
            facing = self._heading(s) + (np.pi if side == layout.side else 0.0)
            self._add(props.sign(rng, self.materials, self._at(s, side * edge), facing))
        lines = np.random.default_rng([self.seed, 10, side + 1]).random() < 0.55
        if lines and layout.sidewalk_m + layout.verge_m > 2.6:
            for s in (self.s0 + 2.0, self.s0 + 12.0, self.s0 + 20.0):
                if rng.random() < 0.6:
                    self._tree(s, side * (edge + 0.3))

    def _corner_poles(self, event: Event) -> None:
        """Posts of the traffic lights; their heads change and belong to the traffic."""
        for s, d in signal_places(self.layout, event):
            at = self._at(s, d)
            self._add([props.pole(self.materials, at, 3.2, 0.07)])

    def _parked(self, side: int) -> None:
        rng, layout = self.rng, self.layout
        d = side * (layout.half_width(side) - layout.parking_m / 2)
        density = np.random.default_rng([self.seed, 11, side + 1]).uniform(0.2, 0.95)
        for slot in range(_SLOTS):
            s = self.s0 + 3.0 + slot * 6.0
            near_event = any(
                e.kind != "turn" and e.s_m - 6 < s < e.s_m + e.length_m + 4 for e in self.events
            )
            if near_event or rng.random() > density:
                continue
            shape = int(rng.integers(len(SHAPES)))
            paint = PAINTS[rng.integers(len(PAINTS))]
            yaw = self._heading(s) + (0.0 if side == layout.side else np.pi)
            at = self._at(s + rng.uniform(-0.4, 0.4), d + rng.uniform(-0.12, 0.12))
            if rng.random() < 0.06:
                model = truck(self.materials, False).tinted((0.9, 0.9, 0.88))
                size = (8.0, 2.4)
            else:
                model = car(self.materials, shape, False).tinted(paint)
                size = (SHAPES[shape].length_m, SHAPES[shape].width_m)
            number = identity.parked(self.index, slot + (_SLOTS if side > 0 else 0))
            turned = yaw + rng.normal(0, 0.015)
            self._add([model.placed(turned, at).numbered(number)])
            outline = box_outline(at, turned, *size)
            self.parked.append(Obstacle(number, int(model.label[0]), outline))
            self.casters.append(vehicle_caster(at, yaw, *size, 1.4))

    def _tree(self, s: float, d: float) -> None:
        side = 1 if d > 0 else -1
        if not self._free(s, 3.0) or abs(d) + 1 > self._room(s, side):
            return
        at = self._at(s, d)
        parts = foliage.tree(self.rng, self.materials, at)
        self._add(parts)
        crown = parts[0].verts.reshape(-1, 3)
        radius = float(np.abs(crown[:, :2] - at[:2]).max())
        for _ in range(3):
            shift = self.rng.normal(0, radius * 0.3, 3) * (1, 1, 0.6)
            self._disc_caster(at + shift, radius * 0.62, float(crown[:, 2].mean()) + shift[2])

    def _hedge(self, side: int, d: float, height: float) -> None:
        places = np.arange(self.s0, self.s1, 0.8)
        places = np.array([s for s in places if self._free(float(s), 1.5)])
        if len(places) and d < self._room(self.s0 + CELL_M / 2, side):
            foot = self.road.point(places, side * (d + self.rng.normal(0, 0.15, len(places))))
            self._add([foliage.bushes(self.rng, self.materials, foot, height, 4)])

    def _scrub(self, side: int, low: float, high: float, count: int) -> None:
        places = self.rng.uniform(self.s0, self.s1, count)
        places = np.array([s for s in places if self._free(float(s), 2.0)])
        if len(places) and high < self._room(self.s0 + CELL_M / 2, side):
            foot = self.road.point(places, side * self.rng.uniform(low, high, len(places)))
            height = self.rng.uniform(0.6, 1.6)
            self._add([foliage.bushes(self.rng, self.materials, foot, height)])
            for at in foot:
                self._disc_caster(at, 0.8 * height, 0.4 * height)

    def _line(self, d: float, kind: str, step: float) -> None:
        """A fence or barrier along the road."""
        if abs(d) > self._room(self.s0 + CELL_M / 2, 1 if d > 0 else -1):
            return
        for s in np.arange(self.s0, self.s1 - 1e-6, step):
            if self._free(float(s) + step / 2, step / 2):
                foot = self.road.point(np.array([s, s + step]), d)[:, :2]
                self._add(props.barrier(self.materials, foot, kind))


def signal_places(layout: RoadLayout, event: Event) -> list[tuple[float, float]]:
    """Arc lengths and lateral places of the traffic lights, before and beyond a crossing."""
    sides = [side * (layout.half_width(side) + 0.45) for side in (1, -1)]
    return [(s, d) for s in (event.s_m + 0.8, event.s_m + event.length_m - 0.5) for d in sides]
