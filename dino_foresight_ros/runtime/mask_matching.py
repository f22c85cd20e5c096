"""Masks of objects at an instant, what they share, and which pairs of them match best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.scene import Detection, Scene

LEAST_AFFINITY = 0.15
"""A pair of less is no match."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sight:
    """An object at an instant.

    Attributes:
        stamp_ns: the instant.
        corner: (y, x) of the mask's bounding box.
        mask: (h, w) bool, within the box.
        area: its pixels.
        centroid: (x, y) pixels.
    """

    stamp_ns: int
    corner: tuple[int, int]
    mask: NDArray[np.bool_]
    area: int
    centroid: Vector

    @property
    def size(self) -> float:
        """The longer side of the box, pixels; 4 at least."""
        return float(max(*self.mask.shape, 4))

    def resized(self, scale: tuple[float, float]) -> Sight:
        """The same in a picture whose (height, width) is as many times as large."""
        if scale == (1.0, 1.0):
            return self
        (top, left), (high, wide) = self.corner, self.mask.shape
        corner = round(top * scale[0]), round(left * scale[1])
        size = max(1, round(wide * scale[1])), max(1, round(high * scale[0]))
        mask = cv2.resize(self.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        centroid = (self.centroid + 0.5) * (scale[1], scale[0]) - 0.5
        area = max(1, int(np.count_nonzero(mask)))
        return replace(self, corner=corner, mask=mask.astype(bool), area=area, centroid=centroid)


def sights(scene: Scene) -> Iterator[tuple[Detection, Sight]]:
    """The detections that have pixels, each with what its mask is."""
    ids = scene.instances
    assert ids is not None
    for detection in scene.detections:
        left, top, width, height = (round(value) for value in detection.box)
        left, top = max(left, 0), max(top, 0)
        mask = ids[top : top + height, left : left + width] == detection.id
        area = int(np.count_nonzero(mask))
        if area:
            centroid = np.array(detection.centroid, np.float64)
            corner = (top, left)
            yield (
                detection,
                Sight(scene.stamp_ns, corner, mask, area, centroid),
            )


def overlaps(
    sight: Sight,
    moved: Vector,
    ids: NDArray[np.uint16],
    places: NDArray[np.intp],
    count: int,
) -> Vector:
    """(count,): how many pixels the moved mask shares with each detection."""
    top, left = sight.corner[0] + round(float(moved[1])), sight.corner[1] + round(float(moved[0]))
    height, width = sight.mask.shape
    above, before = max(0, -top), max(0, -left)
    below, after = min(height, ids.shape[0] - top), min(width, ids.shape[1] - left)
    if below <= above or after <= before:
        return np.zeros(count)
    region = ids[top + above : top + below, left + before : left + after]
    met = places[region[sight.mask[above:below, before:after]]]
    return np.bincount(met, minlength=count + 1)[1 : count + 1].astype(np.float64)


def assignment(affinities: Vector) -> Iterator[tuple[int, int]]:
    """Pairs (row, column) whose sum of affinities is largest, each large enough."""
    if not affinities.size:
        return
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise UsageError(
            'ids of objects need SciPy: pip install "dino_foresight_ros[instances]"'
        ) from error
    useful = np.where(affinities >= LEAST_AFFINITY, affinities, 0.0)
    for row, column in zip(*linear_sum_assignment(useful, maximize=True), strict=True):
        if useful[row, column] > 0.0:
            yield int(row), int(column)
