"""Things beside the road: trees, hedges, fences, poles, signs, traffic lights, houses."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import Array, Faces, box_quads, planar, upright_quads
from dino_foresight_ros.synthetic.materials import FACADES, LEAVES, SHOPS, SIGNS, Materials

_CLUMP_CORNERS = 12


def clumps(
    rng: np.random.Generator,
    materials: Materials,
    centers: Array,
    sizes: Array,
    outward: Array,
    tint: tuple[float, float, float],
    texture: int,
) -> Faces:
    """Ragged leafy polygons (N) at `centers` (N, 3), of `sizes` (N,) m, facing about `outward`."""
    n = len(centers)
    normal = outward + rng.normal(0, 0.55, (n, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    first = np.cross(normal, rng.normal(0, 1, (n, 3)))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normal, first)
    angles = np.arange(_CLUMP_CORNERS) * (2 * np.pi / _CLUMP_CORNERS)
    angles = angles + rng.uniform(-0.25, 0.25, (n, _CLUMP_CORNERS))
    # Every other corner is pulled in, which makes a ragged star of leaves.
    radius = sizes[:, None] * rng.uniform(0.8, 1.25, (n, _CLUMP_CORNERS))
    radius[:, 1::2] *= rng.uniform(0.5, 0.85, (n, _CLUMP_CORNERS // 2))
    verts = (
        centers[:, None]
        + first[:, None] * (np.cos(angles) * radius)[..., None]
        + second[:, None] * (np.sin(angles) * radius)[..., None]
    )
    shade = rng.uniform(0.7, 1.2, (n, 1)).astype(np.float32)
    return planar(
        verts,
        texture,
        CLASS_IDS["vegetation"],
        origin=centers,
        u_axis=first * 0.5,
        v_axis=second * 0.5,
        tint=np.asarray(tint, dtype=np.float32) * shade,
        two_sided=True,
        uv_offset=rng.uniform(0, 1, (n, 2)),
    )


def tree(rng: np.random.Generator, materials: Materials, at: Array) -> list[Faces]:
    """A trunk and a crown of ragged leaf polygons."""
    height = rng.uniform(4.5, 11.0)
    conifer = rng.random() < 0.2
    crown_low = height * (0.12 if conifer else rng.uniform(0.24, 0.4))
    crown_r = height * (0.2 if conifer else rng.uniform(0.24, 0.36))
    count = int(90 + 7 * height)
    direction = rng.normal(0, 1, (count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    share = rng.uniform(0.45, 1.0, (count, 1))
    mid = (height + crown_low) / 2
    spread = np.array([crown_r, crown_r, (height - crown_low) / 2])
    offset = direction * share * spread
    if conifer:
        offset[:, :2] *= np.clip(0.62 - offset[:, 2:] / (height - crown_low), 0.05, 1.2)
    centers = np.asarray(at) + offset + (0.0, 0.0, mid)
    depth_shade = 0.6 + 0.4 * np.clip((offset[:, 2] / spread[2] + 1) / 2, 0, 1)
    tint = tuple(rng.uniform(0.75, 1.15) * rng.uniform(0.92, 1.08, 3))
    leaves = clumps(
        rng,
        materials,
        centers,
        rng.uniform(0.2, 0.32, count) * crown_r,
        direction,
        tint,
        materials[f"leaves{rng.integers(LEAVES)}"],
    )
    leaves = leaves.tinted(depth_shade[:, None].astype(np.float32) * np.ones((1, 3), np.float32))
    radius = 0.035 * height * rng.uniform(0.7, 1.0)
    trunk = _prism(
        at,
        radius,
        radius * 0.55,
        0.0,
        crown_low + 0.5 * (height - crown_low),
        6,
        materials["bark"],
        "vegetation",
    )
    return [leaves, trunk]


def bushes(
    rng: np.random.Generator, materials: Materials, foot: Array, height: float, per_bush: int = 9
) -> Faces:
    """Domes of leaf polygons on ground points (N, 3): undergrowth, or a hedge when close."""
    n = len(foot)
    direction = rng.normal(0, 1, (n * per_bush, 3))
    direction[:, 2] = np.abs(direction[:, 2])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    size = np.repeat(rng.uniform(0.6, 1.2, (n, 1)) * height, per_bush, axis=0)
    share = rng.uniform(0.35, 0.75, (n * per_bush, 1))
    centers = np.repeat(foot, per_bush, axis=0) + direction * share * size
    tint = tuple(rng.uniform(0.7, 1.05) * np.ones(3))
    faces = clumps(
        rng,
        materials,
        centers,
        size[:, 0] * 0.36,
        direction,
        tint,
        materials[f"leaves{rng.integers(LEAVES)}"],
    )
    shade = np.clip(0.6 + 0.5 * direction[:, 2:] * share, 0, 1.1).astype(np.float32)
    return faces.tinted(shade * np.ones((1, 3), np.float32))


def tree_line(
    rng: np.random.Generator, materials: Materials, left: Array, right: Array, height: float
) -> Faces:
    """A distant ragged row of trees between two ground points (2,), as one silhouette."""
    steps = 7
    share = np.linspace(1.0, 0.0, steps)[:, None]
    top = left + (right - left) * share
    z = height * rng.uniform(0.55, 1.1, (steps, 1))
    rim = np.hstack([top + (right - left) * rng.uniform(-0.05, 0.05, (steps, 1)), z])
    verts = np.vstack([[[*left, 0.0], [*right, 0.0]], rim])[None]
    along = (right - left) / np.sum((right - left) ** 2)
    width = float(np.linalg.norm(right - left))
    return planar(
        verts,
        materials[f"leaves{rng.integers(LEAVES)}"],
        CLASS_IDS["vegetation"],
        origin=np.array([[*left, 0.0]]),
        u_axis=np.array([[*along, 0.0]]) * width / 5.0,
        v_axis=np.array([[0.0, 0.0, -1 / 5.0]]),
        tint=tuple(rng.uniform(0.55, 0.85) * np.ones(3)),
        two_sided=True,
        uv_offset=(float(rng.random()), float(rng.random())),
    )


def _prism(
    at: Array,
    low_r: float,
    high_r: float,
    low_z: float,
    high_z: float,
    sides: int,
    texture: int,
    label: str,
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
    glow: float = 0.0,
) -> Faces:
    """The sides of a standing prism or cone."""
    angles = np.arange(sides + 1) * (2 * np.pi / sides)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    low = np.hstack([at[:2] + ring * low_r, np.full((sides + 1, 1), low_z)])
    high = np.hstack([at[:2] + ring * high_r, np.full((sides + 1, 1), high_z)])
    quads = np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1)
    faces = planar(
        quads,
        texture,
        CLASS_IDS[label],
        tint=tint,
        glow=glow,
        repeat=(1.0 / sides * 2, max((high_z - low_z) / 1.5, 1.0)),
    )
    return faces.as_object((at[0], at[1], 0.0), 0.1)


def pole(materials: Materials, at: Array, height: float, radius: float = 0.06) -> Faces:
    """A lamp post or the post of a sign."""
    return _prism(
        at, radius, radius * 0.7, 0.0, height, 5, materials["metal"], "pole", (0.75, 0.75, 0.78)
    )


def lamp(materials: Materials, at: Array, yaw: float) -> list[Faces]:
    """A street lamp whose arm points along `yaw`."""
    height = 7.0
    arm = box_quads((1.7, 0.09, 0.09), (0.8, 0.0, height - 0.04))
    head = box_quads((0.7, 0.24, 0.12), (1.7, 0.0, height - 0.06))
    parts = planar(
        np.concatenate([arm, head]),
        materials["metal"],
        CLASS_IDS["pole"],
        tint=(0.6, 0.6, 0.62),
        two_sided=True,
    )
    placed = parts.placed(yaw, (at[0], at[1], 0.0)).as_object((at[0], at[1], 0.0), 0.1)
    return [pole(materials, at, height, 0.08), placed]


def sign(rng: np.random.Generator, materials: Materials, at: Array, yaw: float) -> list[Faces]:
    """A traffic sign on its post, its face towards `yaw`."""
    kind = int(rng.integers(SIGNS))
    sides, turn = {
        0: (8, 0.39),
        1: (3, 0.0),
        2: (8, 0.39),
        3: (4, 0.0),
        4: (8, 0.39),
        5: (4, 0.785),
    }[kind]
    radius = 0.4 if kind != 5 else 0.65
    angles = np.arange(sides) * (2 * np.pi / sides) + turn + (np.pi / 2 if sides == 3 else 0.0)
    outline = np.stack([np.full(sides, 0.08), np.cos(angles), np.sin(angles)], axis=1)
    outline[:, 1:] *= radius
    z = 2.5 if kind != 5 else 2.2
    reach = radius if kind != 5 else radius * 0.71
    faces = planar(
        (outline + (0.0, 0.0, z))[None],
        materials[f"sign{kind}"],
        CLASS_IDS["sign"],
        origin=np.array([[0.08, -reach, z + reach]]),
        u_axis=np.array([[0.0, 0.498 / reach, 0.0]]),
        v_axis=np.array([[0.0, 0.0, -0.498 / reach]]),
        two_sided=True,
        priority=1,
    )
    board = faces.placed(yaw, (at[0], at[1], 0.0)).as_object((at[0], at[1], 0.0), 0.11)
    return [pole(materials, at, z, 0.04), board]


def signal_head(materials: Materials, at: Array, z: float, yaw: float, is_green: bool) -> Faces:
    """One traffic light head at height `z`, facing `yaw`."""
    quads = box_quads((0.28, 0.36, 0.95), (0.0, 0.0, z))[:4]
    textures = np.full(4, materials["metal"], dtype=np.int32)
    textures[0] = materials["light_green" if is_green else "light_red"]
    faces = planar(quads, textures, CLASS_IDS["sign"], tint=(0.25, 0.25, 0.25), priority=1)
    faces.glow[0] = 0.75
    return faces.placed(yaw, (at[0], at[1], 0.0)).as_object((at[0], at[1], 0.0), 0.2)


def row_house(
    rng: np.random.Generator, materials: Materials, front: Array, depth: Array, height: float
) -> list[Faces]:
    """A building: `front` (N, 2) are its front's ground points, `depth` (2,) goes to the back.

    The front is cut into bays at those points. A ground floor of shops is drawn now and then.
    """
    facade = materials[f"facade{rng.integers(FACADES)}"]
    tint = tuple(rng.uniform(0.85, 1.1) * np.ones(3))
    label = CLASS_IDS["building"]
    shop_z = 3.7 if rng.random() < 0.55 and height > 6 else 0.0
    parts = []
    walls = [
        front,
        np.stack([front[-1], front[-1] + depth]),
        np.stack([front[0] + depth, front[0]]),
    ]
    offset = rng.uniform(0, 1)
    for index, walk in enumerate(walls):
        run = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(walk, axis=0), axis=1))])
        low = shop_z if index == 0 else 0.0
        parts.append(_wall(walk, run, low, height, facade, (6.4, 6.4), tint, offset))
        if index == 0 and shop_z:
            shop = materials[f"shop{rng.integers(SHOPS)}"]
            parts.append(_wall(walk, run, 0.0, shop_z, shop, (6.4, shop_z), (1, 1, 1), offset))
    # A cornice casts a dark line on the wall and ends the facade against the sky.
    cap = planar(
        upright_quads(front, height + 0.45, height),
        materials["concrete"],
        label,
        tint=(0.8, 0.78, 0.75),
    )
    return [*parts, cap]


def _wall(
    walk: Array,
    run: Array,
    low: float,
    high: float,
    texture: int,
    period: tuple[float, float],
    tint: tuple[float, float, float],
    offset: float,
) -> Faces:
    quads = upright_quads(walk, high, low)
    n = len(quads)
    along = quads[:, 1] - quads[:, 0]
    along /= np.maximum((along**2).sum(1, keepdims=True), 1e-9)
    widths = np.diff(run)[:, None]
    return planar(
        quads,
        texture,
        CLASS_IDS["building"],
        origin=quads[:, 0] * (1, 1, 0) + (0.0, 0.0, low),
        u_axis=along * widths / period[0],
        v_axis=np.tile([[0.0, 0.0, -1.0 / period[1]]], (n, 1)),
        tint=tint,
        uv_offset=np.stack([run[:-1] / period[0] + offset, np.zeros(n)], axis=1),
    )


def cottage(rng: np.random.Generator, materials: Materials, at: Array, yaw: float) -> list[Faces]:
    """A detached house with a gabled roof, its front towards `yaw`."""
    width, deep = rng.uniform(8, 14), rng.uniform(7, 10)
    eaves, ridge = rng.uniform(3.0, 6.2), rng.uniform(2.0, 3.6)
    facade = materials[f"facade{rng.integers(FACADES)}"]
    label = CLASS_IDS["building"]
    tint = tuple(rng.uniform(0.9, 1.12) * np.ones(3))
    box = box_quads((deep, width, eaves), (0, 0, eaves / 2))[:4]
    parts = [
        planar(box[[0, 2]], facade, label, tint=tint, repeat=(round(width / 6) or 1, 1.0)),
        planar(box[[1, 3]], facade, label, tint=tint, repeat=(round(deep / 6) or 1, 1.0)),
    ]
    out, over, top = deep / 2 + 0.5, width / 2 + 0.4, eaves + ridge
    low = eaves - 0.3
    slopes = np.array(
        [
            [[out, -over, low], [out, over, low], [0, over, top], [0, -over, top]],
            [[-out, over, low], [-out, -over, low], [0, -over, top], [0, over, top]],
        ]
    )
    parts.append(
        planar(
            slopes,
            materials[f"roof{rng.integers(2)}"],
            label,
            priority=3,
            repeat=(width / 4, deep / 6),
        )
    )
    half = deep / 2
    gables = np.array(
        [
            [
                [half, width / 2, eaves],
                [-half, width / 2, eaves],
                [0, width / 2, top - 0.1],
                [0, width / 2, top - 0.1],
            ],
            [
                [-half, -width / 2, eaves],
                [half, -width / 2, eaves],
                [0, -width / 2, top - 0.1],
                [0, -width / 2, top - 0.1],
            ],
        ]
    )
    parts.append(
        planar(
            gables,
            materials["wall0"],
            label,
            tint=tint,
            priority=2,
            origin=gables[:, 0],
            u_axis=np.array([[0.3, 0, 0]]),
            v_axis=np.array([[0, 0, -0.3]]),
        )
    )
    return [p.placed(yaw, at).as_object(at, min(width, deep) / 2) for p in parts]


def barrier(materials: Materials, foot: Array, kind: str) -> list[Faces]:
    """A fence, wall or crash barrier along ground points (N, 2), seen from both sides."""
    if kind == "rail":
        beam = planar(
            upright_quads(foot, 0.8, 0.45), materials["rail"], CLASS_IDS["fence"], two_sided=True
        )
        posts = [pole(materials, p, 0.75, 0.05) for p in foot[::2]]
        return [beam, *posts]
    texture, height = {
        "planks": (materials["planks0"], 1.5),
        "white": (materials["planks1"], 1.0),
        "wall": (materials["wall1"], 1.3),
        "noise": (materials["wall0"], 3.6),
    }[kind]
    return [
        planar(
            upright_quads(foot, height),
            texture,
            CLASS_IDS["fence"],
            two_sided=True,
            repeat=(2.0 if kind != "noise" else 1.0, 1.0),
        )
    ]
