"""Rows of town houses and detached houses."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import Array, Faces, box_quads, planar, upright_quads
from dino_foresight_ros.synthetic.materials import FACADES, SHOPS, Materials


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
