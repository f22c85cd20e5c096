"""Planar textured polygons: the one kind of geometry of the synthetic world.

World frame: x forward at the start, y left, z up, metres. Polygons wind counter-clockwise seen
from outside, so (p1 - p0) x (p_last - p0) points outward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CLASS_IDS

Array = NDArray[np.float64]

# Painted in this order whatever their distance: the ground is convex enough that its layers never
# hide one another the wrong way round, and everything else stands on it.
(
    LAYER_BASE,
    LAYER_TERRAIN,
    LAYER_ROAD,
    LAYER_PAINT,
    LAYER_KERB,
    LAYER_SIDEWALK,
    LAYER_OBJECT,
) = range(7)

# curvature (1/m), then scale and offset of u, then scale and offset of v
NO_WARP = (0.0, 1.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Faces:
    """F planar polygons of V corners each (a structure of arrays).

    `uv[f, 0]` and `uv[f, 1]` hold (gx, gy, gz, c): texture coordinate = g . X + c, in repeats of
    the texture. `anchor_m` is the radius by which an object's faces are drawn nearer than their
    `center` when objects are sorted; faces of one object share `center` and are ordered among
    themselves by `priority`, then by distance. `instance` is the number of the object that can
    move (`identity.py`), 0 for what cannot.
    """

    verts: Array  # (F, V, 3) metres
    normal: Array  # (F, 3) outward unit vector
    uv: Array  # (F, 2, 4)
    texture: NDArray[np.int32]  # (F,)
    label: NDArray[np.uint8]  # (F,) class id
    tint: NDArray[np.float32]  # (F, 3) multiplies the texture where its alpha is 255
    glow: NDArray[np.float32]  # (F,) 0 = lit by sun and sky, 1 = shines by itself
    two_sided: NDArray[np.bool_]  # (F,)
    center: Array  # (F, 3) metres
    anchor_m: Array  # (F,)
    priority: NDArray[np.int32]  # (F,)
    layer: NDArray[np.int32]  # (F,)
    instance: NDArray[np.uint16]  # (F,)
    # (F, 5) as NO_WARP. Ground strips give `uv` in metres along and left of their start; the bend
    # is taken out per pixel, then scale and offset lead to texture coordinates.
    warp: Array

    def __len__(self) -> int:
        return len(self.verts)

    def placed(self, yaw_rad: float, position: Sequence[float] | Array) -> Faces:
        """The same polygons turned about z by `yaw_rad`, then moved to `position` (3,)."""
        c, s = np.cos(yaw_rad), np.sin(yaw_rad)
        turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])  # right-multiplied
        offset = np.asarray(position, dtype=np.float64)
        gradient = (self.uv[:, :, :3].reshape(-1, 3) @ turn).reshape(-1, 2, 3)
        uv = np.concatenate([gradient, self.uv[:, :, 3:] - (gradient @ offset)[..., None]], axis=2)
        return replace(
            self,
            verts=(self.verts.reshape(-1, 3) @ turn).reshape(self.verts.shape) + offset,
            normal=self.normal @ turn,
            uv=uv,
            center=self.center @ turn + offset,
        )

    def as_object(self, center: Sequence[float] | Array, anchor_m: float) -> Faces:
        """The same polygons sorted as one object around `center` (3,)."""
        n = len(self)
        return replace(
            self,
            center=np.broadcast_to(np.asarray(center, dtype=np.float64), (n, 3)).copy(),
            anchor_m=np.full(n, float(anchor_m)),
        )

    def numbered(self, instance: int) -> Faces:
        """The same polygons as those of one object that can move."""
        return replace(self, instance=np.full(len(self), instance, dtype=np.uint16))

    def tinted(self, tint: Sequence[float] | NDArray[np.float32]) -> Faces:
        """The same polygons with every tint multiplied by `tint` (3,)."""
        return replace(self, tint=(self.tint * np.asarray(tint, dtype=np.float32)))


def concat(parts: Sequence[Faces]) -> Faces:
    """Join polygons of one corner count V."""
    names = [f.name for f in fields(Faces)]
    return Faces(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def by_corner_count(parts: Sequence[Faces]) -> list[Faces]:
    """Join polygons into one `Faces` per corner count."""
    groups: dict[int, list[Faces]] = {}
    for part in parts:
        if len(part):
            groups.setdefault(part.verts.shape[1], []).append(part)
    return [concat(groups[count]) for count in sorted(groups)]


def planar(
    verts: Array,
    texture: int | NDArray[np.int32],
    label: int,
    *,
    origin: Array | None = None,
    u_axis: Array | None = None,
    v_axis: Array | None = None,
    tint: Sequence[float] | NDArray[np.float32] = (1.0, 1.0, 1.0),
    glow: float = 0.0,
    two_sided: bool = False,
    priority: int = 0,
    layer: int = LAYER_OBJECT,
    warp: Array | tuple[float, ...] = NO_WARP,
    repeat: tuple[float, float] = (1.0, 1.0),
    uv_offset: Array | tuple[float, float] = (0.0, 0.0),
) -> Faces:
    """Polygons from corners (F, V, 3).

    Without `origin` and axes the texture spans the quad: its top left corner on the last corner,
    u towards the second last, v towards the first, `repeat` times in each direction. With them,
    u = (X - origin) . u_axis + uv_offset[0], the axes (F, 3) in repeats per metre.
    """
    verts = np.asarray(verts, dtype=np.float64)
    n = len(verts)
    if origin is None or u_axis is None or v_axis is None:
        origin = verts[:, -1]
        along_u, along_v = verts[:, -2] - origin, verts[:, 0] - origin
        u_axis = along_u * (repeat[0] / np.maximum((along_u**2).sum(1, keepdims=True), 1e-9))
        v_axis = along_v * (repeat[1] / np.maximum((along_v**2).sum(1, keepdims=True), 1e-9))
    axes = np.stack([np.broadcast_to(u_axis, (n, 3)), np.broadcast_to(v_axis, (n, 3))], axis=1)
    shift = np.broadcast_to(np.asarray(uv_offset, dtype=np.float64), (n, 2))
    constant = shift - np.einsum("fkc,fc->fk", axes, np.broadcast_to(origin, (n, 3)))
    normal = np.cross(verts[:, 1] - verts[:, 0], verts[:, -1] - verts[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return Faces(
        verts=verts,
        normal=normal,
        uv=np.concatenate([axes, constant[..., None]], axis=2),
        texture=np.broadcast_to(np.asarray(texture, dtype=np.int32), (n,)).copy(),
        label=np.full(n, label, dtype=np.uint8),
        tint=np.broadcast_to(np.asarray(tint, dtype=np.float32), (n, 3)).copy(),
        glow=np.full(n, glow, dtype=np.float32),
        two_sided=np.full(n, two_sided),
        center=verts.mean(axis=1),
        anchor_m=np.zeros(n),
        priority=np.full(n, priority, dtype=np.int32),
        layer=np.full(n, layer, dtype=np.int32),
        instance=np.zeros(n, dtype=np.uint16),
        warp=np.broadcast_to(np.asarray(warp, dtype=np.float64), (n, 5)).copy(),
    )


def upright_quads(foot: Array, top_z: float, bottom_z: float = 0.0) -> Array:
    """Vertical quads (N-1, 4, 3) along ground points (N, 2), outside to the right of the walk."""
    left, right = foot[:-1], foot[1:]
    low = np.full((len(left), 1), bottom_z)
    high = np.full((len(left), 1), top_z)
    corners = [
        np.hstack([left, low]),
        np.hstack([right, low]),
        np.hstack([right, high]),
        np.hstack([left, high]),
    ]
    return np.stack(corners, axis=1)


def box_quads(size: Sequence[float], center: Sequence[float], taper: float = 1.0) -> Array:
    """The four sides and the top (5, 4, 3) of a box; the top is scaled by `taper`.

    Order: front (+x), left (+y), back (-x), right (-y), top.
    """
    half = np.asarray(size, dtype=np.float64) / 2
    cx, cy, cz = center
    ring = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]], dtype=np.float64)
    low = np.hstack([ring * half[:2], np.full((4, 1), -half[2])]) + (cx, cy, cz)
    high = np.hstack([ring * half[:2] * taper, np.full((4, 1), half[2])]) + (cx, cy, cz)
    sides = [
        np.stack([low[i], low[j], high[j], high[i]]) for i, j in ((0, 1), (1, 2), (2, 3), (3, 0))
    ]
    top = np.stack([high[3], high[0], high[1], high[2]])
    return np.stack([*sides, top])


def prism(
    at: Array,
    low_r: float,
    high_r: float,
    low_z: float,
    high_z: float,
    sides: int,
    texture: int,
    label: str,
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
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
        repeat=(1.0 / sides * 2, max((high_z - low_z) / 1.5, 1.0)),
    )
    return faces.as_object((at[0], at[1], 0.0), 0.1)
