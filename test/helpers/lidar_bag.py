"""A bag of a known drive past known points: pictures, camera_info, points, /tf and /tf_static."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes_set import matrix

from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.recordings.camera import CameraModel

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
OPTICAL = (0.5, -0.5, 0.5, -0.5)
CAMERA_PLACE = ((1.5, 0.2, 1.4), OPTICAL)
LIDAR_PLACE = ((0.8, -0.1, 1.9), (0.8, 0.0, 0.0, -0.6))
"""(translation, quaternion w x y z) in base_link."""
SIZE = (48, 32)
"""(width, height) of the pictures."""
K = (40.0, 0.0, 23.5, 0.0, 40.0, 15.5, 0.0, 0.0, 1.0)
PICTURES, CLOUDS, POINTS = "/cam/image_rect", "/lidar", 400


def base_pose(seconds: float) -> tuple[tuple[float, float, float], tuple[float, ...]]:
    """The vehicle in the map: 12 m/s ahead, half a metre to the side and 0.3 rad a second."""
    turn = 0.15 * seconds
    return (12 * seconds, 0.5 * seconds, 0.0), (float(np.cos(turn)), 0.0, 0.0, float(np.sin(turn)))


def map_from(place: Any, seconds: float) -> np.ndarray:
    """(4, 4) of a sensor."""
    return matrix(*base_pose(seconds)) @ matrix(*place)


def scattered() -> np.ndarray:
    """(N, 3) points of the map in front of the drive."""
    random = np.random.default_rng(3)
    return np.column_stack(
        [
            random.uniform(12, 60, POINTS),
            random.uniform(-25, 25, POINTS),
            random.uniform(-1, 12, POINTS),
        ]
    )


@dataclass
class LidarBag:
    """What is written; change fields to break it.

    `picture_s` and `cloud_s` are seconds after the start; `image` gives the picture of an instant.
    """

    picture_s: Sequence[float] = tuple(i * 0.1 for i in range(12))
    cloud_s: Sequence[float] = tuple(i * 0.1 + 0.04 for i in range(-1, 12))
    tf_s: Sequence[float] = tuple(i * 0.02 for i in range(-6, 65))
    points: np.ndarray = field(default_factory=scattered)
    camera_frame: str = "cam"
    lidar_frame: str = "lidar"
    camera_info: bool = True
    static: Sequence[tuple[str, Any]] = (("cam", CAMERA_PLACE), ("lidar", LIDAR_PLACE))
    clouds: bool = True
    k: Sequence[float] = K
    info_size: tuple[int, int] = SIZE
    size: tuple[int, int] = SIZE
    pictures: str = PICTURES

    def image(self, number: int) -> np.ndarray:
        """(H, W, 3): frame `number` is that many grey levels bright."""
        return np.full((self.size[1], self.size[0], 3), number, np.uint8)

    def write(self, path: Path) -> Path:
        with create_bag(path) as bag:
            self._transforms(bag)
            for number, seconds in enumerate(self.picture_s):
                stamp_ns = START_NS + round(seconds * 1000) * MS
                bag.write_image(self.pictures, self.image(number), stamp_ns, self.camera_frame)
                if self.camera_info:
                    camera = CameraModel(*self.info_size, tuple(self.k), (0.0,) * 5)
                    bag.write_camera_info("/cam/camera_info", camera, stamp_ns, self.camera_frame)
            for seconds in self.cloud_s if self.clouds else ():
                stamp_ns = START_NS + round(seconds * 1000) * MS
                bag.write(
                    CLOUDS, "sensor_msgs/msg/PointCloud2", stamp_ns, self._cloud(seconds, stamp_ns)
                )
        return path

    def _transforms(self, bag: Any) -> None:
        for child, (place, turn) in self.static:
            made = transforms([(START_NS, "base_link", child, place, turn)])
            bag.write("/tf_static", "tf2_msgs/msg/TFMessage", START_NS, made, latched=True)
        for seconds in self.tf_s:
            stamp_ns = START_NS + round(seconds * 1000) * MS
            made = transforms([(stamp_ns, "map", "base_link", *base_pose(seconds))])
            bag.write("/tf", "tf2_msgs/msg/TFMessage", stamp_ns, made)

    def _cloud(self, seconds: float, stamp_ns: int) -> Any:
        own = np.linalg.inv(map_from(LIDAR_PLACE, seconds))
        points = (self.points @ own[:3, :3].T + own[:3, 3]).astype(np.float32)
        types = typestore().types
        fields = [
            types["sensor_msgs/msg/PointField"](name=n, offset=4 * i, datatype=7, count=1)
            for i, n in enumerate("xyz")
        ]
        return types["sensor_msgs/msg/PointCloud2"](
            header=header(stamp_ns, self.lidar_frame), height=1, width=len(points),
            fields=fields, is_bigendian=False, point_step=12, row_step=12 * len(points),
            data=np.frombuffer(points.tobytes(), np.uint8), is_dense=True,
        )  # fmt: skip


def header(stamp_ns: int, frame_id: str) -> Any:
    types = typestore().types
    sec, nanosec = divmod(stamp_ns, 10**9)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def transforms(sent: Sequence[Any]) -> Any:
    """tf2_msgs/TFMessage of (stamp_ns, parent, child, translation, quaternion w x y z)."""
    types = typestore().types
    found = []
    for stamp_ns, parent, child, (x, y, z), (w, i, j, k) in sent:
        pose = types["geometry_msgs/msg/Transform"](
            translation=types["geometry_msgs/msg/Vector3"](x=float(x), y=float(y), z=float(z)),
            rotation=types["geometry_msgs/msg/Quaternion"](
                x=float(i), y=float(j), z=float(k), w=float(w)
            ),
        )
        found.append(
            types["geometry_msgs/msg/TransformStamped"](
                header=header(stamp_ns, parent), child_frame_id=child, transform=pose
            )
        )
    return types["tf2_msgs/msg/TFMessage"](transforms=found)
