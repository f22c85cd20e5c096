"""Topics of a bag: which hold a camera's pictures, which depth, and the camera_info beside them."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_reader import BagReader, BagTopic
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.image_decoding import MEASUREMENTS
from dino_foresight_ros.topic_names import camera_info_names, frame_name, is_rectified

RAW_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
IMAGE_TYPES = (RAW_TYPE, COMPRESSED_TYPE)
_NO_CAMERA = re.compile(
    r"(?<![a-z])(?P<word>depth|disparity|confidence|infrared|infra|ir)\d*(?![a-z])"
)
_IN_COLOUR = ("rgb", "bgr", "bayer_", "yuv", "uyvy", "nv")


def read_camera(reader: BagReader, image_topic: str) -> CameraModel | None:
    """The intrinsics of a topic's pictures, by its first camera_info; None without one.

    Those of rectified pictures are of P, without distortion; those of a region are of its pixels.
    """
    info = first_camera_info(reader, image_topic)
    if info is None:
        return None
    matrix, d = [float(value) for value in info.k], [float(value) for value in info.d]
    if is_rectified(image_topic):
        d = []
        if info.p[0] > 0:
            matrix = [float(value) for row in range(3) for value in info.p[4 * row : 4 * row + 3]]
    matrix[2] -= info.roi.x_offset
    matrix[5] -= info.roi.y_offset
    return CameraModel(
        width=int(info.roi.width or info.width),
        height=int(info.roi.height or info.height),
        k=tuple(matrix),
        d=tuple(d),
        distortion_model=info.distortion_model,
        frame_id=frame_name(info.header.frame_id),
    )


def first_camera_info(reader: BagReader, image_topic: str) -> Any | None:
    """The first camera_info beside an image topic; None without one."""
    name = camera_info_topic(image_topic, reader.topics)
    message = None if name is None else next(iter(reader.messages([name])), None)
    return None if message is None else reader.deserialize(message)


def image_topics(topics: dict[str, BagTopic]) -> list[BagTopic]:
    """List the topics that hold at least one image message."""
    return [t for t in topics.values() if t.msgtype in IMAGE_TYPES and t.message_count > 0]


def no_pictures(reader: BagReader) -> dict[str, str]:
    """Image topics that hold depth or infrared, each with the reason.

    Depth is told by the encoding of the first message, infrared by the topic's name, unless its
    pictures are in colour.
    """
    found = {}
    for topic in image_topics(reader.topics):
        encoding = _first_encoding(reader, topic)
        if encoding in MEASUREMENTS:
            found[topic.name] = encoding
        elif not encoding.startswith(_IN_COLOUR) and (word := _NO_CAMERA.search(topic.name)):
            found[topic.name] = word["word"]
    return found


def _first_encoding(reader: BagReader, topic: BagTopic) -> str:
    """Encoding of the first message before it was compressed; empty where that is not known."""
    for message in islice(reader.messages([topic.name]), 1):
        with suppress(Exception):  # a damaged message raises errors of every kind
            content = reader.deserialize(message)
            name = content.format if topic.msgtype == COMPRESSED_TYPE else content.encoding
            return str(name).split(";")[0].strip()
    return ""


def choose_topic(path: Path, topics: dict[str, BagTopic], wanted: str | None) -> BagTopic:
    """Return the wanted image topic, or the only one."""
    images = image_topics(topics)
    if not images:
        listed = ", ".join(f"{t.name} ({t.msgtype})" for t in topics.values()) or "none at all"
        raise InputError(f"{path} holds no image topic; its topics: {listed}{_advice(topics)}")
    names = ", ".join(sorted(t.name for t in images))
    if wanted:
        chosen = next((t for t in images if t.name.strip("/") == wanted.strip("/")), None)
        if chosen is None:
            raise InputError(f"{path} has no image topic {wanted}; choose one of: {names}")
        return chosen
    if len(images) > 1:
        raise InputError(f"{path} has {len(images)} image topics; set topic to one of: {names}")
    return images[0]


def _advice(topics: dict[str, BagTopic]) -> str:
    """What to do about messages in encodings that are not read."""
    encodings = {t.msgtype.rpartition(" in ")[2] for t in topics.values() if " in " in t.msgtype}
    if not encodings:
        return ""
    advice = f"; messages in {', '.join(sorted(encodings))} are not read: convert them to a rosbag2"
    if "protobuf" in encodings:
        advice += ", or install the Python package protobuf for Foxglove's images"
    return advice


def camera_info_topic(image_topic: str, topics: dict[str, BagTopic]) -> str | None:
    """Return the topic with the camera_info of an image topic's camera, if there is one."""
    infos = {name for name, topic in topics.items() if topic.msgtype == CAMERA_INFO_TYPE}
    return next((name for name in camera_info_names(image_topic) if name in infos), None)
