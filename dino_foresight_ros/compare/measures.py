"""How much what was predicted differs from what came."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class Analysis:
    """What a model sees in one frame, or predicts of one instant; None where it does not say.

    Attributes:
        features: (h, w, C) float32 PCA features on the patch grid.
        segmentation: (H, W) uint8 class ids, 255 unlabelled.
        depth: (H, W) float32, metres (NaN unknown) or relative inverse depth.
    """

    features: FloatImage | None = None
    segmentation: NDArray[np.uint8] | None = None
    depth: FloatImage | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = (self.features, self.segmentation, self.depth)
        return sum(array.nbytes for array in arrays if array is not None)


class Difference(NamedTuple):
    """Between a prediction and what came; NaN where it cannot be measured.

    Attributes:
        feature_error: mean squared error over patches and channels.
        segmentation_agreement: share of pixels with the class seen, 0 to 1.
        depth_error: mean absolute difference of depth, relative to the depth seen.
    """

    feature_error: float = math.nan
    segmentation_agreement: float = math.nan
    depth_error: float = math.nan


def patch_errors(predicted: FloatImage | None, seen: FloatImage | None) -> FloatImage | None:
    """(h, w) mean squared error over channels; None where either lacks or the shapes differ."""
    if predicted is None or seen is None or predicted.shape != seen.shape:
        return None
    difference = predicted - seen
    errors = np.einsum("hwc,hwc->hw", difference, difference) / np.float32(difference.shape[2])
    return np.asarray(errors, np.float32)


def agreement(predicted: NDArray[np.uint8] | None, seen: NDArray[np.uint8] | None) -> float:
    """Share of the pixels seen with a class that were predicted to have it; NaN without any."""
    if predicted is None or seen is None or predicted.shape != seen.shape:
        return math.nan
    labelled = seen != UNLABELLED
    count = int(np.count_nonzero(labelled))
    return int(np.count_nonzero((predicted == seen) & labelled)) / count if count else math.nan


def depth_difference(
    predicted: FloatImage | None, seen: FloatImage | None, is_metric: bool
) -> float:
    """Mean absolute difference relative to the depth seen, where both are known.

    In metres mean(|a - b| / b), which is AbsRel. Relative inverse depth is 0 far away, where no
    ratio exists: mean(|a - b|) / mean(b).
    """
    if predicted is None or seen is None or predicted.shape != seen.shape:
        return math.nan
    known = np.isfinite(predicted) & np.isfinite(seen)
    if is_metric:
        known &= seen > 0.0
    if not known.any():
        return math.nan
    a, b = predicted[known].astype(np.float64), seen[known].astype(np.float64)
    if is_metric:
        return float(np.mean(np.abs(a - b) / b))
    mean = float(b.mean())
    return float(np.mean(np.abs(a - b))) / mean if mean > 0.0 else math.nan


def compare(
    predicted: Analysis, seen: Analysis, depth_is_metric: bool
) -> tuple[Difference, FloatImage | None]:
    """Every measure, and the feature error by patch as `patch_errors` gives it."""
    errors = patch_errors(predicted.features, seen.features)
    difference = Difference(
        math.nan if errors is None else float(errors.mean(dtype=np.float64)),
        agreement(predicted.segmentation, seen.segmentation),
        depth_difference(predicted.depth, seen.depth, depth_is_metric),
    )
    return difference, errors


def sizes_differ(predicted: Analysis, seen: Analysis) -> bool:
    """Whether both have an output, but not of one size."""
    pairs = (
        (predicted.features, seen.features),
        (predicted.segmentation, seen.segmentation),
        (predicted.depth, seen.depth),
    )
    return any(a is not None and b is not None and a.shape != b.shape for a, b in pairs)
