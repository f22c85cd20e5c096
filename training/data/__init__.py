"""What training does with recordings: splits, clips, augmentation, draws, stores of pixels."""

from .augmentation import PAPER_AUGMENTATION, ClipAugmentation
from .clips import clip_indices, clip_tolerance_s
from .datasets import ClipDataset, ImageDataset
from .seeded_dataset import common_label_space
from .split import check_disjoint, scene_numbers, split_recordings
from .timed_clips import ClipTiming, TimedClips

__all__ = [
    "PAPER_AUGMENTATION",
    "ClipAugmentation",
    "ClipDataset",
    "ClipTiming",
    "ImageDataset",
    "TimedClips",
    "check_disjoint",
    "clip_indices",
    "clip_tolerance_s",
    "common_label_space",
    "scene_numbers",
    "split_recordings",
]
