"""The ground of one stretch of road: carriageway, kerbs, sidewalks, terrain, painted crossings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic import faces as f
from dino_foresight_ros.synthetic.ego import Event, Road
from dino_foresight_ros.synthetic.faces import Array, Faces, planar
from dino_foresight_ros.synthetic.ground_textures import ROAD_PERIOD_M, road_span_m
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.materials import Materials

STRIP_M = 4.0
TERRAIN_REACH_M = 60.0
BASE_Z_M = -0.06


def is_crossing(s: Array, events: list[Event]) -> NDArray[np.bool_]:
    """Where (N,) a side road opens: there is no kerb, no sidewalk and no house."""
    inside = np.zeros(len(s), dtype=bool)
    for event in events:
        if event.kind == "light":
            inside |= (s >= event.s_m + 6.0) & (s < event.s_m + event.length_m - 4.0)
    return inside


def ground_faces(
    road: Road,
    layout: RoadLayout,
    materials: Materials,
    s0: float,
    s1: float,
    events: list[Event],
    terrain: str,
) -> list[Faces]:
    """All ground polygons from arc length `s0` to `s1`, which are multiples of STRIP_M."""
    s = np.arange(s0, s1 - 1e-6, STRIP_M)
    crossing = is_crossing(s, events)
    span = road_span_m(layout)
    parts = [
        _strip(
            road,
            s,
            -layout.half_width(-1),
            layout.half_width(1),
            0.0,
            materials["road"],
            "road",
            f.LAYER_ROAD,
            (1 / ROAD_PERIOD_M, 1 / span),
            v_offset=0.5,
        )
    ]
    for side in (1, -1):
        parts += _roadside(road, layout, materials, s[~crossing], side, terrain)
        if crossing.any():
            inner, outer = layout.half_width(side) - 0.05, TERRAIN_REACH_M
            parts.append(
                _strip(
                    road,
                    s[crossing],
                    side * inner,
                    side * outer,
                    0.0,
                    materials["asphalt"],
                    "road",
                    f.LAYER_ROAD,
                    (0.25, 0.25),
                )
            )
    for event in events:
        if s0 <= event.s_m < s1:
            parts += _paint(road, layout, materials, event)
    return parts


def base_ground(materials: Materials, position: Array, reach_m: float) -> Faces:
    """The plane under everything, out to the horizon, as a grid of squares fixed in the world."""
    cell = 64.0
    corner = np.floor(position[:2] / cell)
    count = int(np.ceil(reach_m / cell))
    ij = np.stack(np.meshgrid(np.arange(-count, count + 1), np.arange(-count, count + 1)), -1)
    low = (ij.reshape(-1, 2) + corner) * cell
    z = np.full((len(low), 1), BASE_Z_M)
    step = np.array([[0, 0], [cell, 0], [cell, cell], [0, cell]], dtype=np.float64)
    verts = np.stack([np.hstack([low + d, z]) for d in step], axis=1)
    return planar(
        verts,
        materials["field"],
        CLASS_IDS["terrain"],
        origin=np.zeros((1, 3)),
        u_axis=np.array([[1 / 6, 0, 0]]),
        v_axis=np.array([[0, 1 / 6, 0]]),
        layer=f.LAYER_BASE,
    )


def _roadside(
    road: Road, layout: RoadLayout, materials: Materials, s: Array, side: int, terrain: str
) -> list[Faces]:
    """Kerb, verge, sidewalk and terrain on one side (+1 left, -1 right)."""
    if not len(s):
        return []
    edge, z = layout.half_width(side), layout.kerb_m
    parts = []
    if z > 0:
        parts.append(_kerb(road, s, side, edge, z, materials["concrete"]))
        parts.append(
            _strip(
                road,
                s,
                side * edge,
                side * (edge + 0.16),
                z,
                materials["concrete"],
                "sidewalk",
                f.LAYER_SIDEWALK,
                (0.5, 0.5),
                tint=1.1,
            )
        )
        edge += 0.16
    if layout.verge_m > 0:
        parts.append(
            _strip(
                road,
                s,
                side * edge,
                side * (edge + layout.verge_m),
                z,
                materials["grass"],
                "terrain",
                f.LAYER_SIDEWALK,
                (1 / 6, 1 / 6),
            )
        )
        edge += layout.verge_m
    if layout.sidewalk_m > 0:
        width = layout.front(side) - edge
        parts.append(
            _strip(
                road,
                s,
                side * edge,
                side * (edge + width),
                z,
                materials["slabs"],
                "sidewalk",
                f.LAYER_SIDEWALK,
                (1 / 2.4, 1 / 2.4),
            )
        )
        edge += width
    label = {"grass": "terrain", "field": "terrain", "slabs": "sidewalk"}[terrain]
    for outer in (edge + 12.0, TERRAIN_REACH_M):
        parts.append(
            _strip(
                road,
                s,
                side * edge,
                side * outer,
                min(z, 0.02),
                materials[terrain],
                label,
                f.LAYER_TERRAIN,
                (1 / 6, 1 / 6),
            )
        )
        edge = outer
    return parts


def _strip(
    road: Road,
    s: Array,
    d0: float,
    d1: float,
    z: float,
    texture: int,
    label: str,
    layer: int,
    scale: tuple[float, float],
    v_offset: float = 0.0,
    tint: float = 1.0,
) -> Faces:
    """Quads between lateral places `d0` and `d1`; texture coordinates follow the road's arc."""
    right, left = min(d0, d1), max(d0, d1)
    start, end = road.pose(s), road.pose(s + STRIP_M)
    bend = (end[:, 2] - start[:, 2]) / STRIP_M
    # On the inside of a bend nothing reaches past the centre of the bend.
    with np.errstate(divide="ignore"):
        limit = 0.9 / np.abs(bend)
    lo = np.where(bend < 0, np.maximum(right, -limit), right)
    hi = np.where(bend > 0, np.minimum(left, limit), left)
    corners = [
        road.point(s, lo, z),
        road.point(s + STRIP_M, lo, z),
        road.point(s + STRIP_M, hi, z),
        road.point(s, hi, z),
    ]
    forward = np.stack([np.cos(start[:, 2]), np.sin(start[:, 2]), np.zeros(len(s))], axis=1)
    leftward = np.stack([-forward[:, 1], forward[:, 0], np.zeros(len(s))], axis=1)
    origin = np.stack([start[:, 0], start[:, 1], np.full(len(s), z)], axis=1)
    one = np.ones(len(s))
    warp = np.stack(
        [bend, scale[0] * one, np.mod(s * scale[0], 1.0), scale[1] * one, v_offset * one], axis=1
    )
    return planar(
        np.stack(corners, axis=1),
        texture,
        CLASS_IDS[label],
        origin=origin,
        u_axis=forward,
        v_axis=leftward,
        tint=(tint,) * 3,
        layer=layer,
        warp=warp,
    )


def _kerb(road: Road, s: Array, side: int, edge: float, z: float, texture: int) -> Faces:
    """The upright side of the kerb, facing the road."""
    near, far = (s, s + STRIP_M) if side > 0 else (s + STRIP_M, s)
    d = side * edge
    verts = np.stack(
        [road.point(near, d), road.point(far, d), road.point(far, d, z), road.point(near, d, z)],
        axis=1,
    )
    return planar(
        verts,
        texture,
        CLASS_IDS["sidewalk"],
        layer=f.LAYER_KERB,
        repeat=(2.0, 0.2),
        tint=(0.85, 0.85, 0.85),
    )


def _paint(road: Road, layout: RoadLayout, materials: Materials, event: Event) -> list[Faces]:
    """Crosswalk and stop line of an event, as painted quads."""
    quads = []
    right, left = -layout.half_width(-1) + 0.3, layout.half_width(1) - 0.3

    def quad(s0: float, s1: float, d0: float, d1: float) -> None:
        quads.append(
            np.concatenate(
                [road.point(a, b, 0.0) for a, b in ((s0, d0), (s1, d0), (s1, d1), (s0, d1))]
            )
        )

    starts = [event.s_m + 1.0] if event.kind == "yield" else []
    if event.kind == "light":
        starts = [event.s_m + 1.6, event.s_m + event.length_m - 3.4]
        inner, outer = sorted((0.2 * layout.side, layout.lanes_edge(layout.side) * layout.side))
        quad(event.s_m, event.s_m + 0.4, inner, outer)
    for s in starts:
        for d in np.arange(right, left - 0.5, 1.0):
            quad(s, s + 3.0, d, d + 0.5)
    if not quads:
        return []
    return [
        planar(
            np.array(quads),
            materials["paint"],
            CLASS_IDS["road_marking"],
            layer=f.LAYER_PAINT,
            repeat=(1.5, 0.3),
        )
    ]
