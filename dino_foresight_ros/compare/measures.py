"""Differences between a prediction and the frame that came. NumPy alone, for live nodes.

Scores against labels, over many frames, are in `label_metrics`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.scene import Scene

FORECAST, COPY_LAST, ORACLE = "forecast", "copy_last", "oracle"
"""Who predicts: the model; the newest frame, as if nothing changed; the heads on the frame that
came, which is the best that a forecast can do."""

FloatImage = NDArray[np.float32]


class Difference(NamedTuple):
    """Between a prediction and what came; NaN where it cannot be measured.

    Attributes:
        feature_error: mean squared error over patches and channels.
        segmentation_agreement: fraction of pixels with the class seen, 0 to 1.
        depth_error: mean absolute difference of depth, relative to the depth seen.
        normals_error_deg: mean angle between the normals, degrees.
    """

    feature_error: float = math.nan
    segmentation_agreement: float = math.nan
    depth_error: float = math.nan
    normals_error_deg: float = math.nan


def skill_of(error: float, copy_error: float) -> float:
    """1 perfect, 0 as good as copy-last, below 0 worse; NaN where copy-last makes no error."""
    return 1.0 - error / copy_error if copy_error > 0.0 else math.nan


def closed_gap(value: float, copy_last: float, oracle: float) -> float:
    """The fraction of the gap between copy-last and the oracle that a score closes; NaN without
    a gap. 0 is copy-last, 1 the oracle."""
    gap = oracle - copy_last
    return (value - copy_last) / gap if gap else math.nan


def patch_errors(predicted: NDArray[Any] | None, seen: NDArray[Any] | None) -> FloatImage | None:
    """(h, w) mean squared error over channels; None where either lacks or the shapes differ."""
    if predicted is None or seen is None or predicted.shape != seen.shape:
        return None
    difference = np.subtract(predicted, seen, dtype=np.float32)
    errors = np.einsum("hwc,hwc->hw", difference, difference) / np.float32(difference.shape[2])
    return np.asarray(errors, np.float32)


def within_spread(errors: FloatImage | None, spread: FloatImage | None) -> float:
    """The fraction of patches whose error is at most twice the spread of several futures.

    Args:
        errors: (h, w) mean squared error over channels.
        spread: (H, W) standard deviation of the futures, root mean square over channels; on any
            grid, which is averaged over patches.

    Returns:
        0 to 1; NaN without either.
    """
    if errors is None or spread is None:
        return math.nan
    height, width = errors.shape
    if spread.shape != errors.shape:
        import cv2  # not where NumPy alone does

        spread = cv2.resize(spread, (width, height), interpolation=cv2.INTER_AREA)
    return float(np.mean(np.sqrt(errors) <= 2.0 * spread))


def feature_error(predicted: NDArray[Any] | None, seen: NDArray[Any] | None) -> float:
    """Mean squared error over patches and channels; NaN if they cannot be compared."""
    errors = patch_errors(predicted, seen)
    return math.nan if errors is None else float(errors.mean(dtype=np.float64))


def agreement(predicted: NDArray[np.uint8] | None, seen: NDArray[np.uint8] | None) -> float:
    """Fraction of the pixels seen with a class that were predicted to have it; NaN without any."""
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


def angle_deg(predicted: FloatImage | None, seen: FloatImage | None) -> float:
    """Mean angle between (h, w, 3) unit vectors, degrees; NaN if they cannot be compared."""
    if predicted is None or seen is None or predicted.shape != seen.shape:
        return math.nan
    cosine = np.sum(predicted.astype(np.float64) * seen, axis=-1)
    known = np.isfinite(cosine)
    if not known.any():
        return math.nan
    return float(np.degrees(np.arccos(np.clip(cosine[known], -1.0, 1.0))).mean())


def compare(predicted: Scene, seen: Scene) -> tuple[Difference, FloatImage | None]:
    """Every difference, and the feature error by patch as `patch_errors` gives it."""
    errors = patch_errors(predicted.features, seen.features)
    difference = Difference(
        math.nan if errors is None else float(errors.mean(dtype=np.float64)),
        agreement(predicted.segmentation, seen.segmentation),
        depth_difference(predicted.depth, seen.depth, seen.depth_is_metric),
        angle_deg(predicted.normals, seen.normals),
    )
    return difference, errors


def sizes_differ(predicted: Scene, seen: Scene) -> bool:
    """Whether both have an output, but not of one size."""
    pairs = (
        (predicted.features, seen.features),
        (predicted.segmentation, seen.segmentation),
        (predicted.depth, seen.depth),
    )
    return any(a is not None and b is not None and a.shape != b.shape for a, b in pairs)
