"""Recordings to train on and to measure with, from every kind of data."""

from dino_foresight_ros.training.data.opening import open_recordings
from dino_foresight_ros.training.data.recording import (
    LABEL_KINDS,
    EgoMotion,
    FrameLabels,
    LabelledFrame,
    LabelSpace,
    PartOfRecording,
    Recording,
    UnreadableFrame,
)

__all__ = [
    "LABEL_KINDS",
    "EgoMotion",
    "FrameLabels",
    "LabelSpace",
    "LabelledFrame",
    "PartOfRecording",
    "Recording",
    "UnreadableFrame",
    "open_recordings",
]
