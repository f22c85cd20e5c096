"""The 19 Cityscapes training classes, which the published segmentation head predicts."""

from __future__ import annotations

from dino_foresight_ros.model.tasks import SegmentationTask

_CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)
MOVING_IDS = tuple(range(11, 19))
"""Moving objects, as the paper scores them."""


def cityscapes_segmentation() -> SegmentationTask:
    """Segmentation into the 19 Cityscapes training classes."""
    return SegmentationTask(
        class_names=tuple(name for name, _ in _CLASSES),
        palette=tuple(colour for _, colour in _CLASSES),
        moving=MOVING_IDS,
    )
