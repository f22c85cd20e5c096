"""Trees, bushes and distant woods: ragged leaf polygons that stand still in the world."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import Array, Faces, planar, prism
from dino_foresight_ros.synthetic.materials import LEAVES, Materials

_CLUMP_CORNERS = 12


def clumps(
    rng: np.random.Generator,
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
    count = int(60 + 6 * height)
    direction = rng.normal(0, 1, (count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    fraction = rng.uniform(0.45, 1.0, (count, 1))
    mid = (height + crown_low) / 2
    spread = np.array([crown_r, crown_r, (height - crown_low) / 2])
    offset = direction * fraction * spread
    if conifer:
        offset[:, :2] *= np.clip(0.62 - offset[:, 2:] / (height - crown_low), 0.05, 1.2)
    centers = np.asarray(at) + offset + (0.0, 0.0, mid)
    depth_shade = 0.6 + 0.4 * np.clip((offset[:, 2] / spread[2] + 1) / 2, 0, 1)
    tint = tuple(rng.uniform(0.75, 1.15) * rng.uniform(0.92, 1.08, 3))
    leaves = clumps(
        rng,
        centers,
        rng.uniform(0.22, 0.36, count) * crown_r,
        direction,
        tint,
        materials[f"leaves{rng.integers(LEAVES)}"],
    )
    leaves = leaves.tinted(depth_shade[:, None].astype(np.float32) * np.ones((1, 3), np.float32))
    radius = 0.035 * height * rng.uniform(0.7, 1.0)
    trunk = prism(
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
    direction[:, 2] = np.abs(direction[:, 2]) * 0.7
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    size = np.repeat(rng.uniform(0.6, 1.2, (n, 1)) * height, per_bush, axis=0)
    fraction = rng.uniform(0.35, 0.75, (n * per_bush, 1))
    centers = np.repeat(foot, per_bush, axis=0) + direction * fraction * size
    tint = tuple(rng.uniform(0.7, 1.05) * np.ones(3))
    faces = clumps(
        rng,
        centers,
        size[:, 0] * 0.36,
        direction,
        tint,
        materials[f"leaves{rng.integers(LEAVES)}"],
    )
    shade = np.clip(0.72 + 0.5 * direction[:, 2:] * fraction, 0, 1.15).astype(np.float32)
    return faces.tinted(shade * np.ones((1, 3), np.float32))


def tree_line(
    rng: np.random.Generator, materials: Materials, left: Array, right: Array, height: float
) -> Faces:
    """A distant ragged row of trees between two ground points (2,), as one silhouette."""
    steps = 22
    fraction = np.linspace(1.0, 0.0, steps)[:, None]
    top = left + (right - left) * fraction
    # Crowns of about equal height, each round on top and set off from the next.
    z = height * rng.uniform(0.7, 1.0, (steps, 1))
    z[::3] *= rng.uniform(0.6, 0.85, (len(z[::3]), 1))
    z[[0, -1]] *= 0.35
    rim = np.hstack([top + (right - left) * rng.uniform(-0.018, 0.018, (steps, 1)), z])
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
