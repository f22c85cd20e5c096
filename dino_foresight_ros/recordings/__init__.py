"""Recordings of cameras: videos, folders of pictures, rosbag2, data sets. No torch, no ROS."""

from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.motion import EgoMotion
from dino_foresight_ros.recordings.opening import open_recording, open_recordings
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.recording import (
    LABEL_KINDS,
    Frame,
    LabelSpace,
    Recording,
    UnreadableFrame,
    Window,
)

__all__ = [
    "LABEL_KINDS",
    "BadFiles",
    "CameraModel",
    "EgoMotion",
    "Frame",
    "LabelSpace",
    "PartOfRecording",
    "Recording",
    "UnreadableFrame",
    "Window",
    "open_recording",
    "open_recordings",
]
