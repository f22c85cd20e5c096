"""The camera of a bag's pictures: how it looks, by camera_info, and where it is, by transforms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_odometry import BASE_FRAMES
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_topics import (
    CAMERA_INFO_TYPE,
    camera_info_topic,
    first_camera_info,
)
from dino_foresight_ros.recordings.camera_view import CameraView, camera_view, check_size
from dino_foresight_ros.recordings.poses import Matrix
from dino_foresight_ros.recordings.transform_tree import read_transforms
from dino_foresight_ros.topic_names import frame_name, is_rectified


def read_view(
    reader: BagReader,
    image_topic: str,
    size: tuple[int, int],
    camera_info: str | None = None,
    rectified: bool | None = None,
) -> tuple[CameraView, str]:
    """The view of a topic's camera, and the frame that its camera_info names.

    Args:
        reader: of the bag.
        image_topic: its pictures.
        size: (height, width) of these.
        camera_info: topic of the calibration; by convention when None.
        rectified: whether the pictures are; None: as the name of their topic says.

    Raises:
        InputError: no camera_info, one that is not calibrated, or one of other pictures.
    """
    topic = camera_info or camera_info_topic(image_topic, reader.topics)
    known = reader.topics.get(topic or "")
    if topic is None or known is None or known.msgtype != CAMERA_INFO_TYPE:
        infos = [t.name for t in reader.topics.values() if t.msgtype == CAMERA_INFO_TYPE]
        raise InputError(
            f"{reader.path} has no camera_info for {image_topic}"
            f"{f' on {topic}' if topic else ''}; its {CAMERA_INFO_TYPE} topics: "
            f"{', '.join(sorted(infos)) or 'none'}; give one by --camera-info, or record it"
        )
    stored = next(iter(reader.messages([topic])), None)
    if stored is None:
        raise InputError(f"{reader.path} has no message on {topic}")
    info = reader.deserialize(stored)
    if rectified is None:
        rectified = is_rectified(image_topic)
    view = camera_view(info, rectified, f"{reader.path}: {topic}")
    check_size(view, size, f"{reader.path}: {topic}")
    return view, frame_name(info.header.frame_id)


def read_mount(
    reader: BagReader, image_topic: str, stamp_ns: int, warn: Callable[[str], None]
) -> Matrix | None:
    """(4, 4) pose in the base of the optical frame that a topic's pictures are of; None unknown.

    Rectified pictures are of a frame that R turns, and P moves to the side in a stereo pair's right
    camera.

    Args:
        reader: of the bag.
        image_topic: the pictures.
        stamp_ns: when.
        warn: is told of transforms that are left out.
    """
    stored = next(iter(reader.messages([image_topic])), None)
    if stored is None:
        return None
    frame = frame_name(reader.deserialize(stored).header.frame_id)
    tree = read_transforms(reader, warn)
    base = next((name for name in BASE_FRAMES if name in tree.frames), None)
    if base is None or frame not in tree.frames:
        return None
    pose = tree.lookup(base, frame, stamp_ns)
    info = first_camera_info(reader, image_topic) if is_rectified(image_topic) else None
    if pose is None or info is None or not info.p[0] > 0:
        return pose
    p, turn = np.array(info.p, np.float64).reshape(3, 4), np.eye(4)
    if np.any(info.r):
        turn[:3, :3] = np.array(info.r, np.float64).reshape(3, 3)
    turn[:3, 3] = np.linalg.solve(p[:, :3], p[:, 3])
    return pose @ np.linalg.inv(turn)
