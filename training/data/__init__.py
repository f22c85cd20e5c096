"""Recordings to train on and to measure with, from every kind of data."""

from dino_foresight_ros.recordings._opening import open_recordings
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.recording import (
    LABEL_KINDS,
    EgoMotion,
    FrameLabels,
    LabelledFrame,
    LabelSpace,
    PartOfRecording,
    Recording,
    UnreadableFrame,
)

from .augmentation import PAPER_AUGMENTATION, ClipAugmentation
from .clips import clip_indices, clip_tolerance_s
from .datasets import ClipDataset, ImageDataset
from .drawn import common_label_space
from .split import check_disjoint, split_recordings

__all__ = [
    "LABEL_KINDS",
    "PAPER_AUGMENTATION",
    "BadFiles",
    "ClipAugmentation",
    "ClipDataset",
    "EgoMotion",
    "FrameLabels",
    "ImageDataset",
    "LabelSpace",
    "LabelledFrame",
    "PartOfRecording",
    "Recording",
    "UnreadableFrame",
    "clip_indices",
    "check_disjoint",
    "clip_tolerance_s",
    "common_label_space",
    "open_recordings",
    "split_recordings",
]
