"""Recordings to train on and to measure with, from every kind of data."""

from .augmentation import PAPER_AUGMENTATION, ClipAugmentation
from .bad_files import BadFiles
from .clips import clip_indices, clip_tolerance_s
from .datasets import ClipDataset, ImageDataset
from .drawn import common_label_space
from .opening import open_recordings
from .recording import (
    LABEL_KINDS,
    EgoMotion,
    FrameLabels,
    LabelledFrame,
    LabelSpace,
    PartOfRecording,
    Recording,
    UnreadableFrame,
)
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
