"""Which classes are ground and sky, and at which heights and ranges points are obstacles."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import SKY_CLASSES
from dino_foresight_ros.errors import UsageError

GROUND_CLASSES = (
    "road",
    "road_marking",
    "lane markings",
    "sidewalk",
    "terrain",
    "pavement",
    "driveable_surface",
    "other_flat",
)
"""Names of what a robot may drive on, in the classes of the synthetic world, Cityscapes, CamVid,
comma10k and nuScenes. Case and spaces do not count."""


def ids_of_classes(class_names: Sequence[str], wanted: Collection[str]) -> tuple[int, ...]:
    """Ids of the classes that are named in `wanted`; case, spaces and underscores do not count."""
    plain = {_plain(name) for name in wanted}
    return tuple(i for i, name in enumerate(class_names) if _plain(name) in plain)


@dataclass(frozen=True)
class ObstacleOptions:
    """What of a view is an obstacle. Heights are metres above the fitted ground.

    Attributes:
        ground_ids: classes of the ground.
        sky_ids: classes of the sky.
        min_height_m: lower points of other classes are ground too, whatever their class.
        ground_height_m: points of ground classes are obstacles only above this: a wall that is
            taken for road. Leave a class out of `ground_ids` to keep its kerbs above
            `min_height_m`.
        height_per_m: both grow by this with every metre of distance, as errors of depth do.
        max_height_m: higher points are left out: the robot fits below them.
        max_range_m: farther points, measured along the floor, are left out.
        ground_z_m: height of the floor in the base frame, for a base frame above the floor.
        max_tilt_deg: a plane that is fitted to the ground leans at most so much in the base frame,
            or the floor of the base frame is taken.
        contact_range_m: an obstacle stands no farther than where its lowest pixel touches the
            ground, where that is nearer than this along the floor; 0: where its depth says.
        max_scale: depths are scaled so that the ground lies as far below the camera as the base
            frame has it, by at most this factor and at least its inverse; 1: never. The depth of
            one camera is a guess of its scale, which differs from camera to camera.
    """

    ground_ids: tuple[int, ...] = ()
    sky_ids: tuple[int, ...] = ()
    min_height_m: float = 0.15
    ground_height_m: float = 0.6
    height_per_m: float = 0.01
    max_height_m: float = 2.2
    max_range_m: float = 40.0
    ground_z_m: float = 0.0
    max_tilt_deg: float = 10.0
    contact_range_m: float = 25.0
    max_scale: float = 1.6

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_ids"):
                continue
            if not math.isfinite(value):
                raise UsageError(f"{field.name} is {value}; it must be a finite number")
            if field.name != "ground_z_m" and value < 0:
                raise UsageError(f"{field.name} is {value:g}; it must be >= 0")
        if self.max_scale < 1:
            raise UsageError(f"max_scale is {self.max_scale:g}; it must be >= 1, 1 for no scaling")
        if self.max_height_m <= self.min_height_m:
            raise UsageError(
                f"max_height_m is {self.max_height_m:g}; it must be above min_height_m, "
                f"{self.min_height_m:g}"
            )

    def believes_scale(self, scale: NDArray[np.float32] | float) -> NDArray[np.bool_]:
        """Whether depths are scaled by this; NaN is not believed."""
        found = np.asarray(scale)
        believed: NDArray[np.bool_] = (found <= self.max_scale) & (found >= 1 / self.max_scale)
        return believed

    @classmethod
    def of_classes(
        cls,
        class_names: Sequence[str],
        ground: Collection[str] = GROUND_CLASSES,
        sky: Collection[str] = SKY_CLASSES,
        **limits: Any,
    ) -> ObstacleOptions:
        """Options for a segmentation with these class names; names that it lacks do not matter."""
        return cls(
            ground_ids=ids_of_classes(class_names, ground),
            sky_ids=ids_of_classes(class_names, sky),
            **limits,
        )


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")
