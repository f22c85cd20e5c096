"""Writes a small data set in nuScenes' format (schema v1.0), every table, from the synthetic world.

The front camera is the world's camera. The lidar's points are its depth, moved into the lidar's
frame, so that projecting them back through all the poses must give that depth again; or, with
`lidar_late_us`, what a lidar on the roof sees of the world at its own instants. The other cameras
show the front camera's pictures in other colours; or, with `surround`, what is to be seen where
they look.

    python test/helpers/nuscenes_set.py FOLDER    # one drive of 4 s at 12 Hz, 640x360, surround
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dino_foresight_ros.synthetic import Frame, World, WorldConfig, raster, shading
from dino_foresight_ros.synthetic.camera import Camera
from dino_foresight_ros.synthetic.ego import EgoState

START_US = 1_532_402_927_612_460
CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_LEFT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
OPTICAL = (0.5, -0.5, 0.5, -0.5)  # (w, x, y, z): x right, y down, z forward, in base_link's axes
# Degrees to the left of straight ahead, as on nuScenes' vehicles.
YAWS = dict(zip(CAMERAS, (0.0, 55.0, -55.0, 180.0, 110.0, -110.0), strict=True))
CAMERA_PLACE = (1.7, 0.0, 1.5)
LIDAR_PLACE = (0.94, 0.0, 1.84)
LIDAR_TURN = (0.7071067811865476, 0.0, 0.0, -0.7071067811865476)  # nuScenes' lidar looks along y
STEP_US = 83_333
TABLES = (
    "attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample",
    "sample_annotation", "sample_data", "scene", "sensor", "visibility",
)  # fmt: skip


def matrix(translation: Any, rotation: Any) -> np.ndarray:
    """(4, 4) from a translation and a quaternion (w, x, y, z), by Rodrigues' formula."""
    w, vector = rotation[0], np.array(rotation[1:], float)
    length = np.linalg.norm(vector)
    turn = 2 * np.arctan2(length, w)
    axis = vector / length if length else np.zeros(3)
    found = np.eye(4)
    found[:3, :3] = cv2.Rodrigues(axis * turn)[0]
    found[:3, 3] = translation
    return found


def quaternion(rotation: np.ndarray) -> list[float]:
    """(w, x, y, z) of a rotation matrix, through its rotation vector."""
    vector = cv2.Rodrigues(rotation)[0].reshape(3)
    turn = np.linalg.norm(vector)
    axis = vector / turn if turn else vector
    return [float(np.cos(turn / 2)), *(float(v) for v in axis * np.sin(turn / 2))]


@lru_cache(maxsize=4)
def _world(seed: int, width: int, height: int) -> World:
    return World(_config(seed, width, height))


def _config(seed: int, width: int, height: int) -> WorldConfig:
    """Of a world that is not drawn farther than lidars see, which takes half the time."""
    rate_hz = 1e6 / STEP_US
    return WorldConfig(
        seed=seed, width=width, height=height, frame_rate_hz=rate_hz, view_distance_m=70.0
    )


@lru_cache(maxsize=4)
def _drive(seed: int, width: int, height: int, length: int) -> list[Frame]:
    return list(_world(seed, width, height).frames(length))


class _TurnedWorld(World):
    """A world seen by a camera that looks another way from the same place."""

    def __init__(self, config: WorldConfig, yaw_deg: float) -> None:
        self._yaw_deg = yaw_deg
        super().__init__(config)

    def _camera(self, ego: EgoState) -> Camera:
        camera = super()._camera(ego)
        return replace(camera, rotation=_about_up(self._yaw_deg) @ camera.rotation)


def _about_up(degrees: float) -> np.ndarray:
    """(3, 3) rotation about an axis that points upwards."""
    return cv2.Rodrigues(np.array([0.0, 0.0, np.radians(degrees)]))[0]


@lru_cache(maxsize=8)
def _seen_by(channel: str, seed: int, width: int, height: int, length: int) -> list[np.ndarray]:
    """Pictures of a camera of the drive that `_drive` sees ahead."""
    world = _TurnedWorld(_config(seed, width, height), YAWS[channel])
    return [frame.image for frame in world.frames(length)]


class NuScenesSet:
    """A data set under `root`; `write()` puts it on disk.

    Attributes:
        one_drive: every scene shows the same drive, where its content does not matter.
        frames: scene name -> the world's frames at 12 Hz, whose depth and speed are the truth.
        tables: table name -> its rows, to be broken by tests before `write`.
    """

    def __init__(
        self,
        root: Path,
        scenes: int = 1,
        length: int = 13,
        size: Any = (80, 48),
        lidar_late_us: int | None = None,
        surround: bool = False,
        one_drive: bool = False,
    ) -> None:
        self.root = root
        self.one_drive = one_drive
        self.surround = surround
        self.lidar_late_us = lidar_late_us
        self.size = size
        self.length = length
        self.frames: dict[str, list[Frame]] = {}
        self.tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._files: dict[str, Any] = {}
        self._common()
        for number in range(scenes):
            self._scene(f"scene-{61 + number:04d}", number)

    def write(self, version: str = "v1.0-mini") -> Path:
        folder = self.root / version
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            (folder / f"{name}.json").write_text(json.dumps(self.tables[name], indent=0))
        for name, content in self._files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".jpg":
                assert cv2.imwrite(str(path), content[..., ::-1])
            else:
                content.tofile(path)
        return self.root

    def add(self, table: str, token: str, **fields: Any) -> None:
        self.tables[table].append({"token": token, **fields})

    def _common(self) -> None:
        self.add("category", "cat-car", name="vehicle.car", description="")
        self.add("category", "cat-walker", name="human.pedestrian.adult", description="")
        self.add("attribute", "att-moving", name="vehicle.moving", description="")
        self.add("visibility", "4", level="v80-100", description="")
        places = {"log": "singapore-onenorth", "log-boston": "boston-seaport"}
        for token, place in places.items():
            self.add(
                "log",
                token,
                logfile=token,
                vehicle="n015",
                date_captured="2018-07-24",
                location=place,
            )
        # As in v1.0-mini: each map names the logs of the whole data set, most of them not here.
        for name, own in (("map", ["log"]), ("map-boston", ["log-boston"]), ("map-queenstown", [])):
            logs = [f"{name}-elsewhere-{number}" for number in range(26)]
            logs[13:13] = own
            self.add("map", name, log_tokens=logs, category="semantic_prior", filename="gone.png")
        # Sensors nobody asks for, and rows of objects and attributes that no sample here has.
        self.add("sensor", "sensor-RADAR_FRONT", channel="RADAR_FRONT", modality="radar")
        self.add("attribute", "att-other", name="cycle.with_rider", description="")
        self.add("category", "cat-animal", name="animal", description="")
        self.add(
            "instance",
            "elsewhere",
            category_token="cat-animal",
            nbr_annotations=0,
            first_annotation_token="gone",
            last_annotation_token="gone",
        )
        for channel in (*CAMERAS, "LIDAR_TOP"):
            modality = "lidar" if channel == "LIDAR_TOP" else "camera"
            self.add("sensor", f"sensor-{channel}", channel=channel, modality=modality)

    def _seed(self, name: str) -> int:
        return 40 if self.one_drive else int(name.removeprefix("scene-")) - 21

    def _scene(self, name: str, number: int) -> None:
        width, height = self.size
        frames = self.frames[name] = _drive(self._seed(name), width, height, self.length)
        start_us = self._start_us(name)
        for channel in CAMERAS:
            self.add(
                "calibrated_sensor",
                f"{name}-{channel}",
                sensor_token=f"sensor-{channel}",
                translation=list(CAMERA_PLACE),
                rotation=self._rotation(channel),
                camera_intrinsic=frames[0].k.tolist(),
            )
        self.add(
            "calibrated_sensor",
            f"{name}-LIDAR_TOP",
            sensor_token="sensor-LIDAR_TOP",
            translation=list(LIDAR_PLACE),
            rotation=list(LIDAR_TURN),
            camera_intrinsic=[],
        )
        self.add(
            "calibrated_sensor",
            f"{name}-RADAR_FRONT",
            sensor_token="sensor-RADAR_FRONT",
            translation=[3.4, 0.0, 0.5],
            rotation=[1.0, 0.0, 0.0, 0.0],
            camera_intrinsic=[],
        )
        keys = range(0, self.length, 6)
        self.add(
            "scene",
            f"token-{name}",
            name=name,
            log_token="log",
            nbr_samples=len(keys),
            first_sample_token=f"{name}-s0",
            last_sample_token=f"{name}-s{keys[-1]}",
            description="Parked trucks, rain",
        )
        for key in keys:
            self.add(
                "sample",
                f"{name}-s{key}",
                timestamp=start_us + key * STEP_US,
                scene_token=f"token-{name}",
                prev="",
                next="",
            )
            self._annotations(name, key, frames[key])
        order = np.random.default_rng(number).permutation(self.length)  # rows come in no order
        for index in map(int, order):
            for offset, channel in enumerate((*CAMERAS, "LIDAR_TOP")):
                # The sensors look one after the other, as on the real vehicle.
                late_us = 0 if channel in ("CAM_FRONT", "LIDAR_TOP") else 7_000 * offset
                if channel == "LIDAR_TOP":
                    late_us = self.lidar_late_us or 0
                self._reading(name, channel, index, start_us + index * STEP_US + late_us)

            self._radar(name, index, start_us + index * STEP_US + 1)

    def _radar(self, name: str, index: int, stamp_us: int) -> None:
        """A row of a radar whose file was not downloaded."""
        token = f"{name}-RADAR_FRONT-{index}"
        self.add(
            "sample_data",
            token,
            sample_token=f"{name}-s{index - index % 6}",
            ego_pose_token=token,
            calibrated_sensor_token=f"{name}-RADAR_FRONT",
            timestamp=stamp_us,
            fileformat="pcd",
            is_key_frame=index % 6 == 0,
            height=0,
            width=0,
            filename=f"sweeps/RADAR_FRONT/{token}.pcd",
            prev="",
            next="",
        )

    def _reading(self, name: str, channel: str, index: int, stamp_us: int) -> None:
        frame = self.frames[name][index]
        key = index % 6 == 0
        lidar = channel == "LIDAR_TOP"
        end = "pcd.bin" if lidar else "jpg"
        folder = "samples" if key else "sweeps"
        file = f"{folder}/{channel}/{name}__{channel}__{stamp_us}.{end}"
        token = f"{name}-{channel}-{index}"
        self.add(
            "sample_data",
            token,
            sample_token=f"{name}-s{index - index % 6}",
            ego_pose_token=token,
            calibrated_sensor_token=f"{name}-{channel}",
            timestamp=stamp_us,
            fileformat="pcd" if lidar else "jpg",
            is_key_frame=key,
            height=0 if lidar else self.size[1],
            width=0 if lidar else self.size[0],
            filename=file,
            prev="",
            next="",
        )
        pose = self._pose(name, index, (stamp_us - self._start_us(name)) / STEP_US)
        self.add(
            "ego_pose",
            token,
            timestamp=stamp_us,
            rotation=quaternion(pose[:3, :3]),
            translation=pose[:3, 3].tolist(),
        )
        if lidar and self.lidar_late_us is not None:
            seconds = (stamp_us - self._start_us(name)) / 1e6
            world = _world(self._seed(name), *self.size)
            self._files[file] = sweep(world, seconds, pose @ matrix(LIDAR_PLACE, LIDAR_TURN))
        elif lidar:
            self._files[file] = lidar_points(frame)
        else:
            self._files[file] = self.picture_of(name, channel, index)

    def _rotation(self, channel: str) -> list[float]:
        if not self.surround:
            return list(OPTICAL)
        return quaternion(_about_up(YAWS[channel]) @ matrix((0, 0, 0), OPTICAL)[:3, :3])

    def picture_of(self, name: str, channel: str, index: int) -> np.ndarray:
        if not self.surround:
            return np.roll(self.frames[name][index].image, CAMERAS.index(channel), axis=2)
        return _seen_by(channel, self._seed(name), *self.size, self.length)[index]

    def _start_us(self, name: str) -> int:
        return START_US + list(self.frames).index(name) * 60_000_000

    def _pose(self, name: str, index: int, when: float) -> np.ndarray:
        """Pose `when` frames after the start, between the poses of two frames."""
        first = min(index, self.length - 2)
        a, b = (map_from_base(self.frames[name][i]) for i in (first, first + 1))
        share = when - first
        turn = cv2.Rodrigues(a[:3, :3].T @ b[:3, :3])[0] * share
        found = np.eye(4)
        found[:3, :3] = a[:3, :3] @ cv2.Rodrigues(turn)[0]
        found[:3, 3] = (1 - share) * a[:3, 3] + share * b[:3, 3]
        return found

    def _annotations(self, name: str, key: int, frame: Frame) -> None:
        for what, category in (("car", "cat-car"), ("walker", "cat-walker")):
            instance = f"{name}-{what}"
            if key == 0:
                self.add(
                    "instance",
                    instance,
                    category_token=category,
                    nbr_annotations=1,
                    first_annotation_token="",
                    last_annotation_token="",
                )
            self.add(
                "sample_annotation",
                f"{instance}-{key}",
                sample_token=f"{name}-s{key}",
                instance_token=instance,
                attribute_tokens=["att-moving"] * (what == "car"),
                visibility_token="4" if what == "car" else "",
                translation=[10.0 + key, 2.0, 0.8],
                size=[1.9, 4.5, 1.6],
                rotation=[1.0, 0.0, 0.0, 0.0],
                prev="",
                next="",
                num_lidar_pts=7,
                num_radar_pts=0,
            )


def map_from_base(frame: Frame) -> np.ndarray:
    """Pose of base_link whose front camera is the world's camera."""
    return frame.world_from_camera @ np.linalg.inv(matrix(CAMERA_PLACE, OPTICAL))


def lidar_points(frame: Frame, stride: int = 3) -> np.ndarray:
    """(N, 5) float32 x, y, z, intensity, ring: every third pixel's point in the lidar's frame."""
    height, width = frame.depth.shape
    v, u = np.mgrid[0:height:stride, 0:width:stride]
    depth = frame.depth[v, u].astype(np.float64)
    known = np.isfinite(depth) & (depth < 60)
    rays = np.linalg.inv(frame.k) @ np.stack([u[known], v[known], np.ones(known.sum())])
    in_camera = np.vstack([rays * depth[known], np.ones(known.sum())])
    base_from_camera = matrix(CAMERA_PLACE, OPTICAL)
    lidar_from_base = np.linalg.inv(matrix(LIDAR_PLACE, LIDAR_TURN))
    points = (lidar_from_base @ base_from_camera @ in_camera)[:3].T
    extra = np.column_stack([np.full(len(points), 9.0), np.arange(len(points)) % 32])
    return np.column_stack([points, extra]).astype(np.float32)


def sweep(world: World, t_s: float, map_from_lidar: np.ndarray) -> np.ndarray:
    """(N, 5) float32, as `lidar_points`: beams 1.3 degrees apart, looking ahead, up to 60 m."""
    width, height, focal = 480, 300, 200.0  # a camera at the lidar's place, wider than the real one
    rotation = map_from_lidar[:3, :3] @ matrix((0, 0, 0), LIDAR_TURN)[:3, :3].T
    rotation = rotation @ matrix((0, 0, 0), OPTICAL)[:3, :3]
    view = world.view(t_s)  # the world's geometry, without the light that falls on it
    camera = Camera(width, height, focal, map_from_lidar[:3, 3], rotation)
    visible = raster.gather_visible(view.groups, camera)
    ids = raster.paint(visible, width, height)
    inverse = shading.inverse_depth(visible, ids, shading.PixelGrid(camera))
    elevation, azimuth = np.radians(np.mgrid[-24.7:10.8:1.3, -48:48.1:0.5])
    across, down = np.tan(azimuth), -np.tan(elevation) / np.cos(azimuth)
    u = np.round(across * focal + (width - 1) / 2).astype(int)
    v = np.round(down * focal + (height - 1) / 2).astype(int)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    u, v, ring = u[inside], v[inside], np.nonzero(inside)[0]
    hit = (ids[v, u] != 0) & (inverse[v, u] > 1 / 60)
    u, v, ring = u[hit], v[hit], ring[hit]
    rays = np.column_stack([u - (width - 1) / 2, v - (height - 1) / 2, np.full(len(u), focal)])
    places = rays / focal / inverse[v, u][:, None] @ rotation.T + camera.position
    own = (places - map_from_lidar[:3, 3]) @ map_from_lidar[:3, :3]
    return np.column_stack([own, np.full(len(own), 9.0), ring]).astype(np.float32)


if __name__ == "__main__":
    NuScenesSet(Path(sys.argv[1]), length=48, size=(640, 360), surround=True).write()
