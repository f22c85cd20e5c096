"""From polygons to buffers: which polygon each pixel sees, and its plane.

Polygons are painted far to near into a buffer of polygon numbers. Everything else (depth, normals,
classes, texture coordinates) is then computed per pixel from the plane of the polygon found there,
so all ground truth comes from one and the same geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic.camera import Camera
from dino_foresight_ros.synthetic.faces import LAYER_OBJECT, Array, Faces

NEAR_M = 0.25
SHIFT = 4  # fractional bits of the corners handed to OpenCV


@dataclass(frozen=True)
class Visible:
    """The polygons of one frame that may be seen, in painting order (row 0 is the sky).

    Plane coefficients multiply (column, row, 1): `inverse_z` gives 1/depth, `u` and `v` give
    texture coordinate / depth.
    """

    inverse_z: NDArray[np.float32]  # (3, N)
    u: NDArray[np.float32]  # (3, N)
    v: NDArray[np.float32]  # (3, N)
    range_inverse_z: NDArray[np.float32]  # (2, N) lowest and highest 1/depth on the polygon
    normal: NDArray[np.float32]  # (N, 3) in the optical frame, facing the camera
    normal_world: NDArray[np.float32]  # (N, 3)
    texel_rate: NDArray[np.float32]  # (2, N) texture repeats per pixel at the centre, along u, v
    texture: NDArray[np.int32]  # (N,)
    label: NDArray[np.uint8]  # (N,)
    instance: NDArray[np.uint16]  # (N,) number of the object that can move, 0 none
    tint: NDArray[np.float32]  # (N, 3)
    glow: NDArray[np.float32]  # (N,)
    warp: NDArray[np.float32]  # (5, N), see faces.NO_WARP
    is_ground: NDArray[np.bool_]  # (N,)
    outlines: list[NDArray[np.int32]]  # fixed-point corners of polygon i + 1


@dataclass
class _Group:
    """Selected polygons of one corner count, projected."""

    faces: Faces
    keep: NDArray[np.intp]
    normal: Array
    inverse_z: Array
    u: Array
    v: Array
    outlines: list[NDArray[np.int32]]
    z_range: Array
    center_px: Array
    distance: Array


def gather_visible(groups: list[Faces], camera: Camera) -> Visible:
    """Project, clip, cull and sort the polygons of a frame."""
    parts = [_project_group(faces, camera) for faces in groups]
    parts = [p for p in parts if len(p.keep)]
    if not parts:
        raise ValueError("the camera sees no polygon at all")

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(p.faces, name)[p.keep] for p in parts])

    layer, priority = joined("layer"), joined("priority")
    center = joined("center") - camera.position
    from_camera = np.hypot(center[:, 0], center[:, 1]) - joined("anchor_m")
    own = np.concatenate([p.distance for p in parts])
    order = np.lexsort((-own, priority, -from_camera, layer))
    outlines = [o for p in parts for o in p.outlines]
    inverse_z = np.concatenate([p.inverse_z for p in parts])[order]
    u = np.concatenate([p.u for p in parts])[order]
    v = np.concatenate([p.v for p in parts])[order]
    px = np.concatenate([p.center_px for p in parts])[order]
    normal = np.concatenate([p.normal for p in parts])[order]
    z_range = np.concatenate([p.z_range for p in parts])[order]
    warp = joined("warp")[order]
    return Visible(
        inverse_z=_columns(inverse_z),
        u=_columns(u),
        v=_columns(v),
        range_inverse_z=_columns(1.0 / z_range[:, ::-1]),
        normal=_with_sky(normal, np.nan).astype(np.float32),
        normal_world=_with_sky(normal @ camera.rotation.T, 0.0).astype(np.float32),
        texel_rate=_columns(_texel_rate(inverse_z, u, v, px) * warp[:, [1, 3]]),
        texture=_with_sky(joined("texture")[order], 0),
        label=_with_sky(joined("label")[order], 0),
        instance=_with_sky(joined("instance")[order], 0),
        tint=_with_sky(joined("tint")[order], 1.0),
        glow=_with_sky(joined("glow")[order], 0.0),
        warp=_columns(warp),
        is_ground=_with_sky(layer[order] < LAYER_OBJECT, False),
        outlines=[outlines[i] for i in order],
    )


def paint(visible: Visible, width: int, height: int) -> NDArray[np.intp]:
    """Paint the polygon numbers (H, W), 0 where the sky is seen."""
    ids = np.zeros((height, width), dtype=np.int32)
    fill = cv2.fillPoly
    for number, outline in enumerate(visible.outlines, start=1):
        fill(ids, [outline], number, 8, SHIFT)
    return ids.astype(np.intp)  # what numpy indexes with, converted once


def project_outlines(polygons: Array, camera: Camera) -> list[NDArray[np.int32]]:
    """Fixed-point outlines of world polygons (N, V, 3); those out of sight are left out."""
    cam = _to_camera(polygons, camera)
    z = cam[:, :, 2]
    highest = _highest(z)
    whole = _lowest(z) > NEAR_M
    px = camera.project(np.where(z[..., None] > NEAR_M, cam, (0.0, 0.0, 1.0)))
    inside = whole & (_highest(px[..., 0]) > 0) & (_lowest(px[..., 0]) < camera.width)
    inside &= (_highest(px[..., 1]) > 0) & (_lowest(px[..., 1]) < camera.height)
    outlines: list[NDArray[np.int32]] = list(_fixed_point(np.clip(px[inside], -1e5, 1e5)))
    for row in np.flatnonzero(~whole & (highest > NEAR_M)):
        outlines.append(_fixed_point(np.clip(camera.project(_clip_near(cam[row])), -1e5, 1e5)))
    return outlines


def _project_group(faces: Faces, camera: Camera) -> _Group:
    cam = _to_camera(faces.verts, camera)
    normal = faces.normal @ camera.rotation
    plane = np.einsum("fc,fc->f", normal, cam[:, 0])
    z = cam[:, :, 2]
    z_min, z_max = _lowest(z), _highest(z)
    seen = (z_max > NEAR_M) & (np.abs(plane) > 1e-3) & ((plane < 0) | faces.two_sided)
    whole = z_min > NEAR_M
    safe_z = np.where(z > NEAR_M, z, NEAR_M)[..., None]
    px = cam[:, :, :2] / safe_z * camera.focal_px + camera.center_px  # (F, V, 2)
    inside = (_highest(px[..., 0]) > -1) & (_lowest(px[..., 0]) < camera.width)
    inside &= (_highest(px[..., 1]) > -1) & (_lowest(px[..., 1]) < camera.height)
    seen &= inside | ~whole
    keep = np.flatnonzero(seen)
    outlines, keep, z_lo, z_hi, center_px = _outlines(cam, px, keep, whole, camera)

    sign = np.where(plane > 0, -1.0, 1.0)[keep, None]
    normal, plane = normal[keep] * sign, plane[keep] * sign[:, 0]
    inverse_k = np.linalg.inv(camera.k)
    inverse_z = (normal / plane[:, None]) @ inverse_k
    gradient = faces.uv[keep, :, :3].reshape(-1, 3)
    at_camera = (gradient @ camera.position).reshape(-1, 2) + faces.uv[keep, :, 3]
    planes = (gradient @ (camera.rotation @ inverse_k)).reshape(-1, 2, 3)
    planes += at_camera[..., None] * inverse_z[:, None, :]
    middle = cam[keep].mean(axis=1)
    return _Group(
        faces=faces,
        keep=keep,
        normal=normal,
        inverse_z=inverse_z,
        u=planes[:, 0],
        v=planes[:, 1],
        outlines=outlines,
        z_range=np.stack([z_lo, z_hi], axis=1),
        center_px=center_px,
        distance=np.linalg.norm(middle, axis=1),
    )


def _to_camera(polygons: Array, camera: Camera) -> Array:
    """World polygons (N, V, 3) -> optical frame."""
    # One product of all corners: numpy multiplies stacks of small matrices one by one.
    flat = polygons.reshape(-1, 3) - camera.position
    return (flat @ camera.rotation).reshape(polygons.shape)


def _outlines(
    cam: Array, px: Array, keep: NDArray[np.intp], whole: NDArray[np.bool_], camera: Camera
) -> tuple[list[NDArray[np.int32]], NDArray[np.intp], Array, Array, Array]:
    """Outlines in fixed point, cut at the near plane; polygons that vanish are dropped."""
    fixed = _fixed_point(np.clip(px[keep], -1e5, 1e5))
    z_lo, z_hi = _lowest(cam[keep, :, 2]), _highest(cam[keep, :, 2])
    limit = (float(camera.width), float(camera.height))
    center = np.clip(px[keep], 0.0, limit).mean(axis=1)
    outlines: list[NDArray[np.int32]] = list(fixed)
    dropped = np.zeros(len(keep), dtype=bool)
    for row in np.flatnonzero(~whole[keep]):
        clipped = _clip_near(cam[keep[row]])
        if len(clipped) < 3:
            dropped[row] = True
            continue
        pixels = np.clip(camera.project(clipped), -1e5, 1e5)
        outlines[row] = _fixed_point(pixels)
        z_lo[row] = NEAR_M
        center[row] = np.clip(pixels, 0.0, limit).mean(axis=0)
    if dropped.any():
        stay = np.flatnonzero(~dropped)
        outlines = [outlines[i] for i in stay]
        keep, z_lo, z_hi, center = keep[stay], z_lo[stay], z_hi[stay], center[stay]
    return outlines, keep, z_lo, z_hi, center


def _lowest(values: Array) -> Array:
    """Smallest of each row (N, V); numpy's own reduction is slow along a short last axis."""
    return np.minimum.reduce([values[:, i] for i in range(values.shape[1])])


def _highest(values: Array) -> Array:
    """Largest of each row (N, V)."""
    return np.maximum.reduce([values[:, i] for i in range(values.shape[1])])


def _clip_near(points: Array) -> Array:
    """Cut a polygon (V, 3) in the optical frame at the near plane (Sutherland-Hodgman)."""
    kept: list[list[float]] = []
    corners = points.tolist()
    for here, following in zip(corners, corners[1:] + corners[:1], strict=True):
        if here[2] >= NEAR_M:
            kept.append(here)
        if (here[2] >= NEAR_M) != (following[2] >= NEAR_M):
            fraction = (NEAR_M - here[2]) / (following[2] - here[2])
            kept.append([a + fraction * (b - a) for a, b in zip(here, following, strict=True)])
    return np.array(kept).reshape(-1, 3)


def _fixed_point(px: Array) -> NDArray[np.int32]:
    return np.rint(px * (1 << SHIFT)).astype(np.int32)


def _texel_rate(inverse_z: Array, u: Array, v: Array, px: Array) -> Array:
    """How fast u and v change per pixel at `px` (N, 2): (N, 2), the larger of both directions."""
    one = np.concatenate([px, np.ones((len(px), 1))], axis=1)
    z = 1.0 / np.maximum((inverse_z * one).sum(axis=1), 1e-6)
    rates = []
    for plane in (u, v):
        value = (plane * one).sum(axis=1) * z
        slope = (plane[:, :2] - value[:, None] * inverse_z[:, :2]) * z[:, None]
        rates.append(np.abs(slope).max(axis=1))
    return np.stack(rates, axis=1)


def _columns(rows: Array) -> NDArray[np.float32]:
    """(N, k) -> (k, N + 1) float32 with an all-zero first entry for the sky."""
    return np.ascontiguousarray(_with_sky(rows, 0.0).T, dtype=np.float32)


def _with_sky(values: np.ndarray, sky: float | bool) -> np.ndarray:
    first = np.full((1, *values.shape[1:]), sky, dtype=values.dtype)
    return np.concatenate([first, values])
