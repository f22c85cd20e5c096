"""Segmentation into the classes of Cityscapes and of the synthetic world."""

from __future__ import annotations

from dino_foresight_ros.classes import CITYSCAPES_CLASSES, MOVING_CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.model.tasks import SegmentationTask


def cityscapes_segmentation() -> SegmentationTask:
    """Segmentation into the 19 Cityscapes training classes; moving ones as the paper scores."""
    return SegmentationTask(
        class_names=tuple(info.name for info in CITYSCAPES_CLASSES),
        palette=tuple(info.color for info in CITYSCAPES_CLASSES),
        moving=tuple(i for i, info in enumerate(CITYSCAPES_CLASSES) if info.is_moving),
    )


def world_segmentation() -> SegmentationTask:
    """Segmentation into the synthetic world's classes."""
    return SegmentationTask(
        class_names=tuple(info.name for info in WORLD_CLASSES),
        palette=tuple(info.color for info in WORLD_CLASSES),
        moving=MOVING_CLASS_IDS,
    )
