"""From buffers to a picture: textures, light, shadows, haze."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.atlas import Atlas
from dino_foresight_ros.synthetic.camera import Camera
from dino_foresight_ros.synthetic.faces import Array
from dino_foresight_ros.synthetic.light import Light, sky
from dino_foresight_ros.synthetic.raster import SHIFT, Visible, project_outlines

Plane = NDArray[np.float32]


class PixelGrid:
    """Column and row numbers and view rays of one camera size, made once."""

    def __init__(self, camera: Camera) -> None:
        self.x = np.broadcast_to(
            np.arange(camera.width, dtype=np.float32), (camera.height, camera.width)
        ).copy()
        self.y = np.broadcast_to(
            np.arange(camera.height, dtype=np.float32)[:, None], (camera.height, camera.width)
        ).copy()
        cx, cy = camera.center_px
        one = np.ones_like(self.x)
        self.ray_x = ((np.arange(camera.width) - cx) / camera.focal_px).astype(np.float32)
        self.ray_y = ((np.arange(camera.height) - cy) / camera.focal_px).astype(np.float32)
        rays = np.stack(np.broadcast_arrays(self.ray_x[None], self.ray_y[:, None], one), axis=-1)
        self.unit_rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def linear(plane: Plane, ids: NDArray[np.intp], grid: PixelGrid) -> Plane:
    """Evaluate the plane (3, N) of each pixel's polygon at that pixel: (H, W)."""
    out = np.take(plane[0], ids, mode="clip")
    out *= grid.x
    part = np.take(plane[1], ids, mode="clip")
    part *= grid.y
    out += part
    out += np.take(plane[2], ids, mode="clip")
    return out


def inverse_depth(visible: Visible, ids: NDArray[np.intp], grid: PixelGrid) -> Plane:
    """1/depth (H, W), 0 for the sky.

    The painted outline reaches up to a pixel past the polygon, where its plane may run off, so
    the value is held within that of the polygon itself.
    """
    value = linear(visible.inverse_z, ids, grid)
    low = np.take(visible.range_inverse_z[0], ids, mode="clip")
    high = np.take(visible.range_inverse_z[1], ids, mode="clip")
    return np.clip(value, low, high, out=value)


def sample(
    visible: Visible, ids: NDArray[np.intp], depth: Plane, grid: PixelGrid, atlas: Atlas
) -> NDArray[np.uint8]:
    """The texture (H, W, 4) seen in every pixel."""
    u = linear(visible.u, ids, grid)
    v = linear(visible.v, ids, grid)
    u *= depth
    v *= depth
    ground = np.flatnonzero(np.take(visible.is_ground, ids, mode="clip"))
    _unbend(visible, ids.ravel()[ground], u.ravel(), v.ravel(), ground)
    place = atlas.choose(visible.texture, visible.texel_rate)
    for value, start, size in ((u, place[0], place[2]), (v, place[1], place[3])):
        value -= np.floor(value)
        value *= np.take(size, ids, mode="clip")
        value += np.take(start, ids, mode="clip")
        value -= 0.5
    return cv2.remap(atlas.image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _unbend(
    visible: Visible, ids: NDArray[np.intp], u: Plane, v: Plane, where: NDArray[np.intp]
) -> None:
    """Turn straight strip coordinates into coordinates along the road's arc, in place."""
    bend = np.take(visible.warp[0], ids)
    x, y = u[where], v[where]
    along = x / (1.0 - bend * y)
    across = y - 0.5 * bend * x * along
    u[where] = along * np.take(visible.warp[1], ids) + np.take(visible.warp[2], ids)
    v[where] = across * np.take(visible.warp[3], ids) + np.take(visible.warp[4], ids)


def shadow_mask(camera: Camera, shadows: Array) -> Plane:
    """Where the ground lies in shadow (H, W), 0..1; only meaningful on ground pixels."""
    mask = np.zeros((camera.height, camera.width), dtype=np.uint8)
    for outline in project_outlines(shadows, camera):
        cv2.fillPoly(mask, [outline], 255, 8, SHIFT)
    width = max(3, camera.width // 200) | 1
    return cv2.GaussianBlur(mask, (width, width), 0).astype(np.float32) / 255.0


def face_light(visible: Visible, light: Light) -> NDArray[np.float32]:
    """Light (N, 3) that falls on each polygon from sun and sky."""
    normal = visible.normal_world
    facing = normal @ light.to_sun.astype(np.float32)
    direct = np.maximum(facing, 0.0)
    # Leaves let light through, and their polygons stand for many leaves of other directions.
    leafy = visible.label == CLASS_IDS["vegetation"]
    direct = np.where(leafy, 0.3 + 0.55 * np.abs(facing), direct)
    open_sky = 0.72 + 0.28 * normal[:, 2]
    lit = light.sun * direct[:, None] + light.ambient * open_sky[:, None]
    glow = visible.glow[:, None]
    return (lit * (1 - glow) + np.float32(1.25) * glow).astype(np.float32)


def shade(
    visible: Visible,
    ids: NDArray[np.intp],
    depth: Plane,
    texture: NDArray[np.uint8],
    camera: Camera,
    grid: PixelGrid,
    light: Light,
    shadows: Array,
    wet: bool,
) -> NDArray[np.float32]:
    """The picture (H, W, 3) in grey levels before exposure."""
    is_ground = np.take(visible.is_ground, ids, mode="clip")
    up = camera.rotation[2].astype(np.float32)
    ray_up = (grid.ray_x * up[0])[None] + (grid.ray_y * up[1] + up[2])[:, None]
    # Little sky reaches the foot of things.
    height = ray_up * depth + np.float32(camera.position[2])
    brightness = np.clip(np.float32(0.62) + np.float32(0.7) * height, 0.0, 1.0)
    brightness[is_ground] = 1.0
    lost = light.sun * light.to_sun[2] / (light.sun * light.to_sun[2] + light.ambient)
    # Under an even sky things still darken the ground beneath them a little.
    strength = np.float32(max(float(lost.mean()), 0.22))
    brightness -= shadow_mask(camera, shadows) * is_ground * strength
    seen = np.exp(np.float32(-light.fog_per_m) * depth)
    brightness *= seen
    hidden = 1.0 - seen
    mirror = _wet_road(visible, ids, ray_up) if wet else None

    # Colour by colour: whole planes are several times faster than (H, W, 3) with small factors.
    plain_light = face_light(visible, light)
    painted_light = plain_light * (visible.tint - 1.0) * np.float32(1 / 255)
    *channels, alpha = cv2.split(texture)
    alpha = alpha.astype(np.float32)
    planes = []
    for index, channel in enumerate(channels):
        plane = np.take(np.ascontiguousarray(painted_light[:, index]), ids, mode="clip")
        plane *= alpha
        plane += np.take(np.ascontiguousarray(plain_light[:, index]), ids, mode="clip")
        plane *= channel
        plane *= brightness
        plane += hidden * (light.horizon[index] * np.float32(0.97))
        if mirror is not None:
            plane += (light.horizon[index] * np.float32(0.85) - plane) * mirror
        planes.append(plane)
    color = cv2.merge(planes)
    _add_sky(color, ids, camera, grid, light)
    return color


def _add_sky(
    color: NDArray[np.float32],
    ids: NDArray[np.intp],
    camera: Camera,
    grid: PixelGrid,
    light: Light,
) -> None:
    """Draw the sky where no polygon is, in place."""
    rows = np.flatnonzero((ids == 0).any(axis=1))
    if not len(rows):
        return
    part = slice(int(rows[0]), int(rows[-1]) + 1)
    # The sky is smooth: every second ray each way will do.
    rays = np.ascontiguousarray(grid.unit_rays[part][::2, ::2])
    above = sky(light, cv2.transform(rays, camera.rotation.astype(np.float32)))
    size = (camera.width, part.stop - part.start)
    above = cv2.resize(above, size, interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(above, (ids[part] == 0).astype(np.uint8), color[part])


def _wet_road(visible: Visible, ids: NDArray[np.intp], ray_up: Plane) -> Plane:
    """How much a wet road mirrors the sky (H, W): more at grazing angles, nothing elsewhere."""
    road = np.take(visible.is_ground & (visible.label == CLASS_IDS["road"]), ids, mode="clip")
    grazing = np.clip(1.0 + ray_up * np.float32(2.2), 0.0, 1.0)
    return grazing * grazing * grazing * road * np.float32(0.5)
