"""Similarity of a patch to itself some time later: what a forecast has to make up for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.classes import UNLABELLED

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
_SAMPLES = 8
"""Label pixels looked at per patch side."""


@dataclass(frozen=True)
class Similarity:
    """Of patches at t and at t + gap.

    Attributes:
        cosine: mean cosine similarity; 1: the same.
        mse: mean squared difference over the channels.
        patches: how many pairs.
    """

    cosine: float
    mse: float
    patches: int


@dataclass(frozen=True)
class SimilarityResult:
    """Patch similarity at one time gap.

    Attributes:
        gap_s: nominal seconds.
        measured_gap_s: mean of what the time stamps say.
        clips: how many pairs of frames.
        overall: over all patches.
        regions: "top left" ... "bottom right", thirds of the picture.
        space: "pca", or "raw" of what the encoder gave.
        classes: class name -> by the class that covers most of the patch in the later frame, where
            that is labelled.
    """

    gap_s: float
    measured_gap_s: float
    clips: int
    overall: Similarity
    regions: Mapping[str, Similarity]
    classes: Mapping[str, Similarity]
    space: str = "pca"


class SimilarityMeter:
    """Adds up similarities of pairs of feature maps of one space, "pca" or "raw"."""

    def __init__(self, space: str = "pca") -> None:
        self._space = space
        self._pairs = 0
        self._sums: Tensor | None = None
        self._by_class: dict[int, NDArray[np.float64]] = {}

    @property
    def pairs(self) -> int:
        """Frame pairs so far."""
        return self._pairs

    def update(self, now: Tensor, later: Tensor, patch_classes: list[NDArray[np.uint8]]) -> None:
        """Take pairs.

        Args:
            now, later: (B, h, w, C).
            patch_classes: B arrays (h, w) of class ids, 255 unknown; or none at all.
        """
        cosine = functional.cosine_similarity(now.float(), later.float(), dim=-1).double()
        mse = (now.float() - later.float()).square().mean(dim=-1).double()
        maps = torch.stack([cosine, mse], dim=-1).cpu()
        self._pairs += len(maps)
        total = maps.sum(0)
        self._sums = total if self._sums is None else self._sums + total
        for one, classes in zip(maps.numpy(), patch_classes, strict=bool(patch_classes)):
            for class_id in np.unique(classes[classes != UNLABELLED]).tolist():
                chosen = one[classes == class_id]
                sums = np.array([*chosen.sum(axis=0), len(chosen)])
                self._by_class[class_id] = self._by_class.get(class_id, np.zeros(3)) + sums

    def result(
        self, gap_s: float, measured_gap_s: float, class_names: tuple[str, ...]
    ) -> SimilarityResult:
        """Average; `class_names` are those of the ids that `update` got."""
        assert self._sums is not None
        sums = self._sums.numpy()
        regions = {
            f"{row} {column}": self._mean(block)
            for row, strip in zip(ROWS, np.array_split(sums, 3, axis=0), strict=True)
            for column, block in zip(COLUMNS, np.array_split(strip, 3, axis=1), strict=True)
            if block.size
        }
        classes = {
            class_names[class_id]: Similarity(float(cosine / count), float(mse / count), int(count))
            for class_id, (cosine, mse, count) in sorted(self._by_class.items())
        }
        return SimilarityResult(
            gap_s, measured_gap_s, self._pairs, self._mean(sums), regions, classes, self._space
        )

    def _mean(self, sums: NDArray[np.float64]) -> Similarity:
        patches = sums.shape[0] * sums.shape[1] * self._pairs
        cosine, mse = sums.sum(axis=(0, 1)) / patches
        return Similarity(float(cosine), float(mse), patches)


def patch_classes(labels: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """The class that covers most of each patch: (H, W) ids -> (h, w) ids, 255 for unlabelled."""
    height, width = grid
    size = (width * _SAMPLES, height * _SAMPLES)
    small = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    cells = np.asarray(small).reshape(height, _SAMPLES, width, _SAMPLES).transpose(0, 2, 1, 3)
    ids = np.unique(cells)
    counts = np.stack([(cells == i).sum(axis=(2, 3)) for i in ids])
    return ids[counts.argmax(axis=0)].astype(np.uint8)
