"""Conventions for topic names. Imports no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CAMERA_FIELD = "{camera}"


class CameraTopics(NamedTuple):
    """A camera's name and its topics, relative to the node's namespace.

    Attributes:
        camera: empty where the node has only one, unnamed.
        image, camera_info: what comes in.
        outputs: the folder of what goes out.
    """

    camera: str = ""
    image: str = "image"
    camera_info: str = "camera_info"
    outputs: str = "foresight"

    @classmethod
    def of(cls, camera: str, template: str) -> CameraTopics:
        """Topics of a named camera; in the image topic's template {camera} is its name."""
        image = template.replace(CAMERA_FIELD, camera)
        return cls(camera, image, camera_info_beside(image), f"{camera}/foresight")


def camera_topics(cameras: Sequence[str], template: str) -> list[CameraTopics]:
    """Topics of each of the named cameras, or those of the only, unnamed one."""
    return [CameraTopics.of(camera, template) for camera in cameras] or [CameraTopics()]


def camera_info_beside(image_topic: str) -> str:
    """Return where a camera's calibration is by convention.

    /camera/image_raw and /camera/image_raw/compressed both go with /camera/camera_info.
    """
    folder, slash, _ = image_topic.removesuffix("/compressed").rpartition("/")
    return f"{folder}{slash}camera_info"


def full_name(namespace: str, topic: str) -> str:
    """Return the full name of a topic, or of a deeper namespace, that is given within a namespace.

    A name that begins with / is full already; an empty one gives the namespace itself.
    """
    if topic.startswith("/"):
        return topic
    return "/" + "/".join(filter(None, [namespace.strip("/"), topic]))
