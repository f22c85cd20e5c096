"""A procedural driving world: pictures with exact ground truth, from a seed.

    world = World(WorldConfig(seed=3, width=640, height=360))
    for frame in world.frames(100):
        frame.image, frame.depth, frame.segmentation, frame.normals

The state of the scene is a function of time and seed, so `world.render(t_s)` gives any instant
and equals the frame of that instant in a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.synthetic import raster, shading
from dino_foresight_ros.synthetic.camera import Camera, focal_from_fov, look, mounted
from dino_foresight_ros.synthetic.config import Conditions, WorldConfig, choose_conditions
from dino_foresight_ros.synthetic.drive import Drive, place_on
from dino_foresight_ros.synthetic.ego import EgoPlan, EgoState, Road, ego_state
from dino_foresight_ros.synthetic.faces import Array, Faces, by_corner_count
from dino_foresight_ros.synthetic.ground import base_ground
from dino_foresight_ros.synthetic.layout import RoadLayout, choose_layout
from dino_foresight_ros.synthetic.lens import Lens
from dino_foresight_ros.synthetic.light import choose_light
from dino_foresight_ros.synthetic.materials import Materials
from dino_foresight_ros.synthetic.road_users import RoadUser
from dino_foresight_ros.synthetic.scene import Scenery
from dino_foresight_ros.synthetic.setting import Setting
from dino_foresight_ros.synthetic.shadows import shadow_outline
from dino_foresight_ros.synthetic.traffic import Traffic

_HORIZON_M = 640.0
_FAR_M = 300.0


@dataclass(frozen=True)
class Frame:
    """One instant of the world.

    `normals` are unit vectors in the camera's optical frame (x right, y down, z forward) that
    face the camera. Depth and normals are NaN in the sky. `k` refers to pixel (0, 0) as the
    centre of the top left pixel.
    """

    index: int
    stamp_s: float
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    segmentation: NDArray[np.uint8]  # (H, W) ids of WORLD_CLASSES
    depth: NDArray[np.float32]  # (H, W) metres along the optical axis
    normals: NDArray[np.float32]  # (H, W, 3)
    instances: NDArray[
        np.uint16
    ]  # (H, W) objects of moving classes, the same ids at every instant; 0 none
    k: Array  # (3, 3)
    world_from_camera: Array  # (4, 4)
    speed_mps: float
    yaw_rate_rps: float


@dataclass(frozen=True)
class _View:
    """The polygons of an instant and the camera that looks at them."""

    camera: Camera
    ego: EgoState
    groups: list[Faces]
    shadows: Array


class World:
    """A world made from a configuration; see the module's text."""

    def __init__(self, config: WorldConfig | None = None) -> None:
        self.config = config = config or WorldConfig()
        self.conditions: Conditions = choose_conditions(config)
        self.layout: RoadLayout = choose_layout(config.seed, self.conditions)
        seed, c = config.seed, self.conditions
        self._materials = Materials(seed, c, self.layout)
        self._light = choose_light(seed, c)
        self._plan = EgoPlan(seed, c)
        self._road = Road(seed, c, self._plan)
        setting = Setting(
            seed, c, self.layout, self._plan, self._road, self._materials, self._light
        )
        self.setting = setting
        self.scenery, self.traffic = Scenery(setting), Traffic(setting)
        self._lens = Lens(seed, c, config.width, config.height)
        self._focal_px = focal_from_fov(config.width, c.horizontal_fov_deg)
        self._bumps = np.random.default_rng([seed, 19]).uniform(0, 6.28, 4)
        self._grids: dict[int, shading.PixelGrid] = {}

    @property
    def k(self) -> Array:
        """Camera intrinsics (3, 3)."""
        return self._camera(self.ego_state(0.0)).k

    @property
    def base_from_optical(self) -> Array:
        """How the camera is mounted (4, 4), without the body's pitch and roll.

        The base lies on the ground below the camera: x forward, y left, z up.
        """
        return mounted(self.conditions)

    def base_pose(self, ego: EgoState) -> Array:
        """Planar pose (3,) of the base in the world frame: x, y in metres, yaw in rad."""
        return np.array([*place_on(self._road, ego.s_m, ego.d_m), ego.yaw_rad])

    def ego(self, t_s: float) -> tuple[Array, float]:
        """World from camera (4, 4) and the speed in m/s at `t_s` seconds, without rendering."""
        ego = self.ego_state(t_s)
        return self._camera(ego).world_from_camera, ego.speed_mps

    def ego_state(self, t_s: float) -> EgoState:
        """Where the ego is at `t_s` seconds by its own plan."""
        return ego_state(self._plan, self._road, self.layout.ego_d_m, t_s)

    def drive(self, start_s: float = 0.0, hazards: Sequence[str] = ()) -> Drive:
        """The same world with a driver from outside, from an instant of the ego's own plan on.

        `hazards` are kinds of `HAZARDS`: road users that the seed adds and that react to the ego.
        """
        return Drive(self, start_s, hazards)

    def frames(self, count: int | None = None, start: int = 0) -> Iterator[Frame]:
        """`count` frames (endless when None) from frame number `start`."""
        index = start
        while count is None or index < start + count:
            yield self.render(index / self.config.frame_rate_hz)
            index += 1

    def render(
        self, t_s: float, ego: EgoState | None = None, others: Sequence[RoadUser] = ()
    ) -> Frame:
        """The frame at `t_s` seconds (from 0).

        Args:
            t_s: the instant.
            ego: where the ego is instead of where its own plan has it. Everything else is as it is
                at that time; only the vehicle ahead, which goes by the plan, is left out.
            others: road users that are there besides, with an `ego` of one's own.
        """
        if not t_s >= 0:
            raise UsageError(f"time is {t_s!r} s; the world starts at 0 s")
        if ego is not None and self.config.motion_blur_samples > 1:
            raise UsageError("motion blur needs the ego's own plan; set motion_blur_samples to 1")
        view = self.view(t_s, ego, others)
        visible = raster.gather_visible(view.groups, view.camera)
        ids = raster.paint(visible, view.camera.width, view.camera.height)
        grid = self._grid(view.camera, 1)
        inverse = shading.inverse_depth(visible, ids, grid)
        is_sky = ids == 0
        with np.errstate(divide="ignore"):
            depth = np.where(is_sky, np.float32(1.0), np.float32(1.0) / inverse)
        texture = shading.sample(visible, ids, depth, grid, self._materials.atlas)
        label = np.take(visible.label, ids, mode="clip")
        label[
            (label == CLASS_IDS["road"]) & (texture[..., 3] > 128) & self._is_road(visible, ids)
        ] = CLASS_IDS["road_marking"]
        label[is_sky] = CLASS_IDS["sky"]
        wet = self.conditions.weather == "wet"
        light = self._exposed_light(t_s, view, visible, ids, depth, texture, wet)
        edges = _edges(ids) if self.config.supersample == 1 else None
        instant = round(t_s * 1e6)
        depth[is_sky] = np.nan
        return Frame(
            index=round(t_s * self.config.frame_rate_hz),
            stamp_s=t_s,
            image=self._lens.expose(light, edges, instant),
            segmentation=label,
            depth=depth,
            normals=np.take(visible.normal, ids, axis=0, mode="clip"),
            instances=np.take(visible.instance, ids, mode="clip"),
            k=view.camera.k,
            world_from_camera=view.camera.world_from_camera,
            speed_mps=view.ego.speed_mps,
            yaw_rate_rps=view.ego.yaw_rate_rps,
        )

    def _exposed_light(
        self,
        t_s: float,
        view: _View,
        visible: raster.Visible,
        ids: NDArray[np.intp],
        depth: NDArray[np.float32],
        texture: NDArray[np.uint8],
        wet: bool,
    ) -> NDArray[np.float32]:
        """Light (H, W, 3) on the sensor: supersampled and blurred by motion where asked for."""
        config = self.config
        if config.supersample == 1 and config.motion_blur_samples == 1:
            return shading.shade(
                visible,
                ids,
                depth,
                texture,
                view.camera,
                self._grid(view.camera, 1),
                self._light,
                view.shadows,
                wet,
            )
        total = np.zeros((config.height, config.width, 3), dtype=np.float32)
        open_s = 0.5 / config.frame_rate_hz
        for k in range(config.motion_blur_samples):
            fraction = k / config.motion_blur_samples
            sub = view if k == 0 else self.view(max(t_s - fraction * open_s, 0.0))
            total += self._light_of(sub, wet)
        return total / np.float32(config.motion_blur_samples)

    def _light_of(self, view: _View, wet: bool) -> NDArray[np.float32]:
        factor = self.config.supersample
        camera = view.camera.scaled(factor)
        grid = self._grid(camera, factor)
        visible = raster.gather_visible(view.groups, camera)
        ids = raster.paint(visible, camera.width, camera.height)
        inverse = shading.inverse_depth(visible, ids, grid)
        with np.errstate(divide="ignore"):
            depth = np.where(ids == 0, np.float32(1.0), np.float32(1.0) / inverse)
        texture = shading.sample(visible, ids, depth, grid, self._materials.atlas)
        light = shading.shade(
            visible, ids, depth, texture, camera, grid, self._light, view.shadows, wet
        )
        size = (self.config.width, self.config.height)
        return cv2.resize(light, size, interpolation=cv2.INTER_AREA) if factor > 1 else light

    def _is_road(self, visible: raster.Visible, ids: NDArray[np.intp]) -> NDArray[np.bool_]:
        return np.take(visible.texture == self._materials["road"], ids, mode="clip")

    def _grid(self, camera: Camera, factor: int) -> shading.PixelGrid:
        if factor not in self._grids:
            self._grids[factor] = shading.PixelGrid(camera)
        return self._grids[factor]

    def _camera(self, ego: EgoState) -> Camera:
        c = self.conditions
        # The body pitches when it brakes and shakes a little with the road, more so when fast.
        wave = np.sin(np.array([1.7, 4.1, 9.3, 2.3]) * ego.s_m / 9.0 + self._bumps)
        shake = np.radians(0.05) * float(wave[:3].sum())
        pitch = np.radians(c.camera_pitch_deg) - 0.0035 * ego.acceleration_mps2 + shake
        roll = np.radians(c.camera_roll_deg) + np.radians(0.12) * float(wave[3])
        position = self._road.point(ego.s_m, ego.d_m, c.camera_height_m)[0]
        rotation = look(ego.yaw_rad, float(pitch), float(roll))
        size = (self.config.width, self.config.height)
        return Camera(*size, self._focal_px, position, rotation)

    def view(
        self, t_s: float, driven: EgoState | None = None, others: Sequence[RoadUser] = ()
    ) -> _View:
        """The geometry of an instant, before light falls on it: camera, ego, polygons, shadows."""
        ego = self.ego_state(t_s) if driven is None else driven
        camera = self._camera(ego)
        view_m = self.config.view_distance_m
        static, shadows = self.scenery.between(ego.s_m - 30.0, ego.s_m + view_m)
        moving, moving_casters = self.traffic.at(
            t_s, ego, camera.position, view_m, None if driven is None else others
        )
        base = base_ground(self._materials, camera.position, _HORIZON_M)
        far = self.scenery.far(ego.s_m - 30.0, ego.s_m + view_m + _FAR_M)
        groups = [*static, *far, *by_corner_count([base, *moving])]
        outlines = [shadow_outline(points, self._light) for points in moving_casters]
        return _View(camera, ego, groups, np.concatenate([shadows, *(o[None] for o in outlines)]))


def _edges(ids: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Pixels (H, W) whose neighbour to the right or below belongs to another polygon."""
    edges = np.zeros(ids.shape, dtype=np.uint8)
    edges[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edges[:-1] |= ids[:-1] != ids[1:]
    return edges
