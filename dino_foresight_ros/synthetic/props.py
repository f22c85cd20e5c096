"""Things beside the road: poles, lamps, signs, traffic lights, fences."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import (
    Array,
    Faces,
    box_quads,
    planar,
    prism,
    upright_quads,
)
from dino_foresight_ros.synthetic.materials import SIGNS, Materials


def pole(materials: Materials, at: Array, height: float, radius: float = 0.06) -> Faces:
    """A lamp post or the post of a sign."""
    return prism(
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
