"""The segmentation of the 19 Cityscapes training classes."""

from __future__ import annotations

from dino_foresight_ros.classes import CITYSCAPES_CLASSES
from dino_foresight_ros.model.tasks import SegmentationTask


def cityscapes_segmentation() -> SegmentationTask:
    """Segmentation into the 19 Cityscapes training classes; moving ones as the paper scores."""
    return SegmentationTask(
        class_names=tuple(info.name for info in CITYSCAPES_CLASSES),
        palette=tuple(info.color for info in CITYSCAPES_CLASSES),
        moving=tuple(i for i, info in enumerate(CITYSCAPES_CLASSES) if info.is_moving),
    )
