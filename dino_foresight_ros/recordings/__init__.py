"""Inputs (videos, folders of pictures, rosbag2) and writing of bags. No torch, no ROS."""

from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.opening import open_source
from dino_foresight_ros.recordings.source import Frame, Source

__all__ = ["CameraModel", "Frame", "Source", "open_source"]
