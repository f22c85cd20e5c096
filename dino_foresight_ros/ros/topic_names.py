"""Conventions for topic names. Imports no ROS."""

from __future__ import annotations


def camera_info_beside(image_topic: str) -> str:
    """Return where a camera's calibration is by convention.

    /camera/image_raw and /camera/image_raw/compressed both go with /camera/camera_info.
    """
    folder, slash, _ = image_topic.removesuffix("/compressed").rpartition("/")
    return f"{folder}{slash}camera_info"
