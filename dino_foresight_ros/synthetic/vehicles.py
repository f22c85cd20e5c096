"""Cars, trucks and buses as textured polygons, standing on z = 0 and facing +x."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import Array, Faces, box_quads, concat, planar
from dino_foresight_ros.synthetic.materials import Materials

PAINTS = (
    (0.92, 0.92, 0.92),
    (0.16, 0.16, 0.18),
    (0.45, 0.47, 0.5),
    (0.68, 0.7, 0.72),
    (0.6, 0.1, 0.1),
    (0.12, 0.2, 0.42),
    (0.16, 0.3, 0.24),
    (0.62, 0.55, 0.42),
    (0.82, 0.62, 0.12),
    (0.3, 0.45, 0.62),
)


@dataclass(frozen=True)
class CarShape:
    """A car's side view: lengths in metres, the rest as fractions of length or height."""

    length_m: float
    width_m: float
    height_m: float
    belt: float  # height of the windows' lower edge
    bonnet: float  # from the nose to the windscreen's foot
    screen: float  # from there to the roof
    roof_end: float
    boot: float  # where the rear window meets the boot


SHAPES = (
    CarShape(4.5, 1.8, 1.46, 0.6, 0.27, 0.16, 0.76, 0.92),  # saloon
    CarShape(4.0, 1.75, 1.5, 0.58, 0.22, 0.18, 0.88, 0.985),  # hatchback
    CarShape(4.6, 1.88, 1.72, 0.6, 0.25, 0.13, 0.93, 0.985),  # sport utility
    CarShape(4.7, 1.82, 1.48, 0.6, 0.26, 0.16, 0.93, 0.99),  # estate
    CarShape(4.9, 1.95, 2.0, 0.52, 0.14, 0.16, 0.96, 0.995),  # van
)


def car(materials: Materials, shape_index: int, braking: bool) -> Faces:
    """A car in white paint; tint it. Its faces form one object around the origin."""
    return materials.model(_car, shape_index, braking)


def _car(materials: Materials, shape_index: int, braking: bool) -> Faces:
    shape = SHAPES[shape_index]
    label = CLASS_IDS["car"]
    length, half = shape.length_m, shape.width_m / 2
    clearance, belt, roof = 0.22, shape.belt * shape.height_m, shape.height_m
    front, back = length / 2, -length / 2
    screen_foot = front - shape.bonnet * length
    roof_front = screen_foot - shape.screen * length
    roof_back, boot = front - shape.roof_end * length, front - shape.boot * length
    nose = belt - 0.14

    def across(x0: float, z0: float, x1: float, z1: float, w0: float, w1: float) -> Array:
        """A panel over the car's width from (x0, z0) below or ahead to (x1, z1), seen outside."""
        return np.array([[[x0, -w0, z0], [x0, w0, z0], [x1, w1, z1], [x1, -w1, z1]]])

    def back_panel(x0: float, z0: float, x1: float, z1: float, w0: float, w1: float) -> Array:
        return np.array([[[x0, w0, z0], [x0, -w0, z0], [x1, -w1, z1], [x1, w1, z1]]])

    top = half * 0.78
    parts = [
        planar(
            across(front, clearance, front - 0.05, nose, half, half), materials["car_front"], label
        ),
        planar(
            across(front - 0.05, nose, screen_foot, belt, half, half),
            materials["car_body"],
            label,
            priority=1,
        ),
        planar(
            across(screen_foot, belt, roof_front, roof, half * 0.95, top),
            materials["car_windscreen"],
            label,
            priority=2,
        ),
        planar(
            across(roof_front, roof, roof_back, roof, top, top),
            materials["car_body"],
            label,
            priority=3,
        ),
        planar(
            back_panel(boot, belt, roof_back, roof, half * 0.95, top),
            materials["car_rear_window"],
            label,
            priority=2,
        ),
        planar(
            back_panel(back, belt - 0.06, boot, belt, half, half),
            materials["car_body"],
            label,
            priority=1,
        ),
        planar(
            back_panel(back + 0.04, clearance, back, belt - 0.06, half, half),
            materials["car_braking" if braking else "car_rear"],
            label,
        ),
    ]
    for side in (1.0, -1.0):
        lower = np.array(
            [
                [back + 0.04, side * half, clearance],
                [front, side * half, clearance],
                [front - 0.05, side * half, nose],
                [screen_foot, side * half, belt],
                [boot, side * half, belt],
                [back, side * half, belt - 0.06],
            ]
        )
        upper = np.array(
            [
                [boot, side * half * 0.95, belt],
                [screen_foot, side * half * 0.95, belt],
                [roof_front, side * top, roof],
                [roof_back, side * top, roof],
            ]
        )
        parts += [
            _side_panel(lower, side, materials["car_side"], label, 0),
            _side_panel(upper, side, materials["car_windows"], label, 2),
        ]
        for x in (front - 0.19 * length, back + 0.2 * length):
            parts.append(_wheel((x, side * (half + 0.01), 0.32), 0.32, side, materials, label))
    return _one_object(parts, shape.length_m * 0.42)


def truck(materials: Materials, bus: bool) -> Faces:
    """A box truck (8 m) or a bus (11 m) in white paint."""
    return materials.model(_truck, bus)


def _truck(materials: Materials, bus: bool) -> Faces:
    label = CLASS_IDS["truck"]
    length, width, height = (11.0, 2.5, 3.0) if bus else (8.0, 2.4, 3.3)
    parts = []
    cab = 0.0 if bus else 1.9
    box = box_quads((length - cab, width, height - 0.4), (-cab / 2, 0.0, height / 2 + 0.2))
    side = materials["bus_side" if bus else "truck_side"]
    ends = (materials["truck_front"] if bus else materials["truck_rear"], materials["truck_rear"])
    for quad, texture in zip(
        box, (ends[0], side, ends[1], side, materials["car_body"]), strict=True
    ):
        parts.append(planar(quad[None], texture, label, priority=1))
    if cab:
        cab_box = box_quads((cab, width * 0.96, 2.3), (length / 2 - cab / 2, 0.0, 1.5), 0.93)
        textures = ("truck_front", "car_windows", "truck_rear", "car_windows", "car_body")
        for quad, name in zip(cab_box, textures, strict=True):
            parts.append(planar(quad[None], materials[name], label, priority=2))
    for sign in (1.0, -1.0):
        for x in (length / 2 - 1.3, -length / 2 + 1.2, -length / 2 + 2.3):
            at = (x, sign * (width / 2 + 0.01), 0.48)
            parts.append(_wheel(at, 0.48, sign, materials, label))
    return _one_object(parts, length * 0.45)


def _side_panel(outline: Array, side: float, texture: int, label: int, priority: int) -> Faces:
    """A panel on the side; its texture spans the outline's length and height, front at u = 1."""
    corners = outline if side < 0 else outline[::-1]
    low, high = outline.min(axis=0), outline.max(axis=0)
    origin = np.array([low[0], outline[0, 1], high[2]])
    faces = planar(
        corners[None],
        texture,
        label,
        origin=origin[None],
        u_axis=np.array([[0.998 / (high[0] - low[0]), 0, 0]]),
        v_axis=np.array([[0, 0, -0.99 / (high[2] - low[2])]]),
        priority=priority,
    )
    # Corner order differs between sides, so the outward direction is set rather than derived.
    if faces.normal[0, 1] * side < 0:
        raise AssertionError("a side panel faces inward")
    return faces


def _wheel(
    center: tuple[float, float, float], radius: float, side: float, materials: Materials, label: int
) -> Faces:
    angles = np.arange(8) * (2 * np.pi / 8) * (-side)
    ring = np.stack([np.cos(angles), np.zeros(8), np.sin(angles)], axis=1)
    corners = ring * radius + center
    return planar(
        corners[None],
        materials["wheel"],
        label,
        origin=(np.asarray(center) + (-radius, 0.0, radius))[None],
        u_axis=np.array([[0.5 / radius, 0, 0]]),
        v_axis=np.array([[0, 0, -0.5 / radius]]),
        priority=4,
    )


def _one_object(parts: list[Faces], anchor_m: float) -> Faces:
    """Pad every polygon to eight corners (repeating the last) and join them."""
    return concat([pad_corners(p, 8) for p in parts]).as_object((0.0, 0.0, 0.0), anchor_m)


def pad_corners(faces: Faces, corners: int) -> Faces:
    """The same polygons with their last corner repeated up to `corners`."""
    from dataclasses import replace

    missing = corners - faces.verts.shape[1]
    if missing <= 0:
        return faces
    return replace(
        faces, verts=np.concatenate([faces.verts, faces.verts[:, -1:].repeat(missing, 1)], axis=1)
    )
