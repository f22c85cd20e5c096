"""Messages of a nuScenes drive, as rosbags' types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.recordings import bag_messages
from dino_foresight_ros.recordings.bag_messages import (
    compressed_image,
    header,
    make,
    pose_of,
    transforms,
    vector,
)
from dino_foresight_ros.recordings.nuscenes.scenes import Box, Reading, SceneError
from dino_foresight_ros.recordings.nuscenes.tables import Sensor
from dino_foresight_ros.recordings.poses import Transform
from dino_foresight_ros.stamps import NS_PER_S

MAP_FRAME = "map"
BASE_FRAME = "base_link"
_FLOAT32 = 7
_LIDAR_FIELDS = ("x", "y", "z", "intensity", "ring")
_BOX_LIFETIME_S = 0.6  # a little over the time between keyframes
_FILE_VALUES = 5

# First part of a category's name -> class whose colour its boxes get.
_COLOURS = {
    "human": "pedestrian",
    "vehicle": "car",
    "movable_object": "fence",
    "static_object": "pole",
}


def picture(reading: Reading) -> Any:
    """sensor_msgs/CompressedImage with the file's own bytes."""
    data = _content(reading.file, np.uint8)
    if data[:3].tobytes() != b"\xff\xd8\xff":
        raise SceneError(f"{reading.file} is no JPEG file; download it again")
    return compressed_image(data, "jpeg", reading.stamp_ns, reading.sensor.frame_id)


def camera_info(reading: Reading) -> Any:
    """sensor_msgs/CameraInfo of a rectified camera, without distortion."""
    width, height = reading.size
    camera = reading.sensor.camera((height, width))
    return bag_messages.camera_info(camera, reading.stamp_ns, reading.sensor.frame_id)


def points(reading: Reading) -> Any:
    """sensor_msgs/PointCloud2 in the lidar's frame: x, y, z metres, intensity 0-255, ring."""
    values = _content(reading.file, np.float32)
    if not values.size or values.size % _FILE_VALUES:
        raise SceneError(f"{reading.file} is no lidar sweep of 5 values a point; download it again")
    count = values.size // _FILE_VALUES
    fields = [
        make("sensor_msgs/msg/PointField", name=name, offset=4 * i, datatype=_FLOAT32, count=1)
        for i, name in enumerate(_LIDAR_FIELDS)
    ]
    return make(
        "sensor_msgs/msg/PointCloud2",
        header=header(reading.stamp_ns, reading.sensor.frame_id),
        height=1,
        width=count,
        fields=fields,
        is_bigendian=False,
        point_step=4 * _FILE_VALUES,
        row_step=4 * _FILE_VALUES * count,
        data=values.view(np.uint8),
        is_dense=bool(np.isfinite(values).all()),
    )


def markers(boxes: Sequence[Box]) -> Any:
    """visualization_msgs/MarkerArray of the boxes of one keyframe, and their names above them."""
    found = []
    for box in boxes:
        width, length, height = box.size_m
        found.append(_marker(box, "boxes", kind=1, scale=(length, width, height)))
        found.append(_marker(box, "names", kind=9, scale=(0.0, 0.0, 0.6)))
    return make("visualization_msgs/msg/MarkerArray", markers=found)


def _marker(box: Box, group: str, kind: int, scale: tuple[float, float, float]) -> Any:
    x, y, z = box.map_from_box.translation
    above = box.size_m[2] / 2 + 0.5 if group == "names" else 0.0
    placed = Transform((x, y, z + above), box.map_from_box.rotation)
    name = _COLOURS.get(box.category.split(".")[0], "car")
    if "cycle" in box.category:
        name = "cyclist"
    red, green, blue = WORLD_CLASSES[CLASS_IDS[name]].color
    details = [*box.attributes, *([f"visible {box.visibility}"] if box.visibility else [])]
    text = f"{box.category} ({', '.join(details)})" if details else box.category
    seconds = math.floor(_BOX_LIFETIME_S)
    return make(
        "visualization_msgs/msg/Marker",
        header=header(box.stamp_ns, MAP_FRAME),
        ns=f"{group}/{box.category}",
        id=box.number,
        type=kind,
        action=0,
        pose=pose_of(placed),
        scale=vector(scale),
        color=make(
            "std_msgs/msg/ColorRGBA",
            r=red / 255,
            g=green / 255,
            b=blue / 255,
            a=0.4 if group == "boxes" else 1.0,
        ),
        lifetime=make(
            "builtin_interfaces/msg/Duration",
            sec=seconds,
            nanosec=round((_BOX_LIFETIME_S - seconds) * NS_PER_S),
        ),
        frame_locked=False,
        points=[],
        colors=[],
        texture_resource="",
        texture=make(
            "sensor_msgs/msg/CompressedImage",
            header=header(0, ""),
            format="",
            data=np.zeros(0, np.uint8),
        ),
        uv_coordinates=[],
        text=text,
        mesh_resource="",
        mesh_file=make("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8)),
        mesh_use_embedded_materials=False,
    )


def static_frames(sensors: Sequence[Sensor], stamp_ns: int) -> Any:
    """tf2_msgs/TFMessage with base_link to each sensor."""
    return transforms(
        [(stamp_ns, BASE_FRAME, sensor.frame_id, sensor.base_from_sensor) for sensor in sensors]
    )


def _content(file: Path, dtype: type[np.generic]) -> NDArray[Any]:
    try:
        return np.fromfile(file, dtype)
    except OSError as error:
        raise SceneError(f"{file} cannot be read: {error.strerror}") from error
