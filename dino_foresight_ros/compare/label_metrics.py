"""Metrics of segmentation, depth and normals against labels, as the paper's authors measure them.

Feed the maps that `model.tasks` decodes, one batch per `update`, and read `compute` at the end.
A segmentation is scored over all pixels of all updates together. Depth and normals are scored per
update, and the scores of the updates averaged with equal weight: the reference does so, hence the
batch size and a short last batch matter a little. Scores are computed in float64, on the device of
the maps.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION


@dataclass(frozen=True)
class SegmentationScores:
    """Intersection over union, 0 to 1.

    Attributes:
        miou: mean over all classes.
        moving_miou: mean over the moving classes; None without any.
        per_class: one per class. 0 for a class that is in neither prediction nor ground truth:
            the reference lets such a class lower the means, so measure on data that has them all.
        present: per class, whether it is in the prediction or the ground truth.
        labelled: per class, whether it is in the ground truth.
    """

    miou: float
    moving_miou: float | None
    per_class: tuple[float, ...]
    present: tuple[bool, ...]
    labelled: tuple[bool, ...]

    def mean_over(self, classes: Iterable[int]) -> float | None:
        """Mean over those of the classes that are in the ground truth; None where none is."""
        values = [self.per_class[i] for i in classes if self.labelled[i]]
        return math.fsum(values) / len(values) if values else None


@dataclass(frozen=True)
class DepthScores:
    """Depth errors, in the unit of the maps where they have one (metres for a metric head).

    Attributes:
        delta1, delta2, delta3: fraction of pixels, 0 to 1, off by a factor below 1.25, 1.25^2,
            1.25^3.
        abs_rel: mean of |error| / true.
        sq_rel: mean of error^2 / true.
        rmse: root of the mean squared error.
        log10: mean of |log10 predicted - log10 true|.
        rmse_log: root of the mean squared difference of natural logarithms.
        silog: 100 x standard deviation of that difference, which a wrong scale leaves alone.
        known: fraction of the pixels of known depth for which a depth was predicted at all; the
            other scores are of these.
    """

    delta1: float
    delta2: float
    delta3: float
    abs_rel: float
    sq_rel: float
    rmse: float
    log10: float
    rmse_log: float
    silog: float
    known: float = 1.0


_NO_DEPTH = DepthScores(
    0.0, 0.0, 0.0, math.inf, math.inf, math.inf, math.inf, math.inf, math.inf, known=0.0
)


@dataclass(frozen=True)
class NormalsScores:
    """Angle between predicted and true normals.

    Attributes:
        mean_deg, median_deg, rmse_deg: of the angle, in degrees.
        within_5_deg to within_30_deg: percent of the pixels whose angle is smaller.
    """

    mean_deg: float
    median_deg: float
    rmse_deg: float
    within_5_deg: float
    within_7_5_deg: float
    within_11_25_deg: float
    within_22_5_deg: float
    within_30_deg: float


class SegmentationMetrics:
    """Scores class ids. Pixels whose true id is `UNLABELLED` are left out."""

    def __init__(self, classes: int, moving: Sequence[int] = ()) -> None:
        """Start with nothing scored.

        Args:
            classes: number of classes, at least 2.
            moving: ids of moving objects, as `SegmentationTask.moving`.

        Raises:
            UsageError: classes or moving out of range.
        """
        if not 2 <= classes <= UNLABELLED:
            raise UsageError(f"classes is {classes}; it must be 2 to {UNLABELLED}")
        if any(not 0 <= i < classes for i in moving):
            raise UsageError(f"moving ids {list(moving)} are not all below {classes} classes")
        self.classes = classes
        self.moving = tuple(moving)
        self._counts = torch.zeros(3, classes, dtype=torch.float64)

    @torch.no_grad()
    def update(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Score one batch of class ids.

        Args:
            predicted: (B, H, W) of an integer type.
            true: (B, H, W) of an integer type.

        Returns:
            (3, classes) float64 on the CPU, pixels of this batch by class: predicted rightly,
            predicted, true. `intersection_over_union` scores sums of them.

        Raises:
            InputError: other shapes or types, no labelled pixel, or an id that is no class.
        """
        _check_shapes(SEGMENTATION, predicted, true)
        for name, ids in (("predicted", predicted), ("true", true)):
            if ids.is_floating_point() or ids.dtype == torch.bool:
                raise InputError(f"segmentation: {name} is {ids.dtype}; class ids are integers")
        scored = true != UNLABELLED
        _check_scored(SEGMENTATION, scored, f"every pixel is unlabelled ({UNLABELLED})")
        predicted, true = predicted[scored].long(), true[scored].long()
        for name, ids in (("predicted", predicted), ("true", true)):
            lowest, highest = int(ids.min()), int(ids.max())
            if lowest < 0 or highest >= self.classes:
                bad = lowest if lowest < 0 else highest
                raise InputError(
                    f"segmentation: {name} has id {bad}; valid: 0 to {self.classes - 1}"
                    + (f", and {UNLABELLED} for unlabelled" if name == "true" else "")
                )
        every = (predicted[predicted == true], predicted, true)
        counts = torch.stack([torch.bincount(ids, minlength=self.classes) for ids in every])
        self._counts += counts.cpu()
        return counts.double().cpu()

    def compute(self) -> SegmentationScores:
        """Score everything so far.

        Raises:
            InputError: nothing was scored.
        """
        right, predicted, true = self._counts
        if not true.any():
            raise InputError("segmentation: nothing was scored; call update() first")
        union = predicted + true - right
        per_class = torch.where(union > 0, right / union, 0.0).tolist()
        moving = [per_class[i] for i in self.moving]
        return SegmentationScores(
            miou=math.fsum(per_class) / len(per_class),
            moving_miou=math.fsum(moving) / len(moving) if moving else None,
            per_class=tuple(per_class),
            present=tuple((union > 0).tolist()),
            labelled=tuple((true > 0).tolist()),
        )


def intersection_over_union(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3, classes) as `SegmentationMetrics.update` gives -> (..., classes); NaN: not true."""
    right, predicted, true = counts[..., 0, :], counts[..., 1, :], counts[..., 2, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: NDArray[np.float64] = np.where(true > 0, right / (predicted + true - right), np.nan)
    return shares


class DepthMetrics:
    """Scores depth. Pixels whose true depth is not a positive finite number are left out.

    Pixels that a prediction leaves open (NaN) are left out too, and counted in `known`; an update
    that leaves all of them open counts there alone.
    A predicted depth of 0, which a relative head gives for "far", makes log10, rmse_log and silog
    infinite, and fails every delta.
    """

    def __init__(self) -> None:
        self._means = _Means(DEPTH)

    @torch.no_grad()
    def update(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        """Score one batch of depth maps of the same unit.

        Args:
            predicted: (B, H, W), any real type; NaN where no depth is predicted.
            true: (B, H, W), any real type; 0 or NaN where unknown.

        Returns:
            The scores of this batch, by the names of `DepthScores`; `known` alone, 0, where no
            depth is predicted.

        Raises:
            InputError: other shapes, no pixel of true depth, or predictions that are negative or
                infinite.
        """
        _check_shapes(DEPTH, predicted, true)
        scored = (true > 0) & torch.isfinite(true)
        _check_scored(DEPTH, scored, "no pixel has a true depth > 0")
        known = _fraction(~torch.isnan(predicted[scored]))
        scored &= ~torch.isnan(predicted)
        if not bool(scored.any()):
            return self._means.update(known=known)
        p, t = predicted[scored].double(), true[scored].double()
        if not bool((torch.isfinite(p) & (p >= 0)).all()):
            raise InputError("depth: predicted has negative or infinite values")
        error = p - t
        log_error = p.log() - t.log()
        factor = torch.maximum(t / p, p / t)
        # Only a prediction of 0 gives NaN here: its log error lies infinitely far from the mean.
        variance = (log_error - log_error.mean()).square().mean().nan_to_num(nan=math.inf)
        return self._means.update(
            delta1=_fraction(factor < 1.25),
            delta2=_fraction(factor < 1.25**2),
            delta3=_fraction(factor < 1.25**3),
            abs_rel=(error.abs() / t).mean(),
            sq_rel=(error.square() / t).mean(),
            rmse=error.square().mean().sqrt(),
            log10=log_error.abs().mean() / math.log(10),
            rmse_log=log_error.square().mean().sqrt(),
            silog=100 * variance.sqrt(),
            known=known,
        )

    def compute(self) -> DepthScores:
        """Average over the updates so far; errors are infinite where no depth was predicted.

        Raises:
            InputError: nothing was scored.
        """
        means = self._means.compute()
        if len(means) == 1:  # `known`, which is 0: no depth was predicted anywhere
            return _NO_DEPTH
        return DepthScores(**means)


class NormalsMetrics:
    """Scores surface normals of any length. Pixels whose true normal is 0 or NaN are left out."""

    def __init__(self) -> None:
        self._means = _Means(NORMALS)

    @torch.no_grad()
    def update(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        """Score one batch of normals.

        A predicted normal of length 0 counts as 90 degrees off. The median of an even number of
        pixels is the lower of the two in the middle, as the reference's.

        Args:
            predicted: (B, H, W, 3) float, as `NormalsTask.decode` gives.
            true: (B, H, W, 3) float.

        Returns:
            The scores of this batch, by the names of `NormalsScores`.

        Raises:
            InputError: other shapes, no pixel of known normal, or non-finite predictions.
        """
        _check_shapes(NORMALS, predicted, true, channels=3)
        scored = torch.isfinite(true).all(dim=-1) & (true != 0).any(dim=-1)
        _check_scored(NORMALS, scored, "no pixel has a true normal")
        p, t = predicted[scored].double(), true[scored].double()
        if not bool(torch.isfinite(p).all()):
            raise InputError("normals: predicted has non-finite values")
        cosine = torch.cosine_similarity(p, t, dim=-1).clamp(-1.0, 1.0)
        angle = torch.rad2deg(torch.arccos(cosine))
        return self._means.update(
            mean_deg=angle.mean(),
            median_deg=angle.median(),
            rmse_deg=angle.square().mean().sqrt(),
            within_5_deg=100 * _fraction(angle < 5),
            within_7_5_deg=100 * _fraction(angle < 7.5),
            within_11_25_deg=100 * _fraction(angle < 11.25),
            within_22_5_deg=100 * _fraction(angle < 22.5),
            within_30_deg=100 * _fraction(angle < 30),
        )

    def compute(self) -> NormalsScores:
        """Average over the updates so far.

        Raises:
            InputError: nothing was scored.
        """
        return NormalsScores(**self._means.compute())


class _Means:
    """Averages named scores over updates."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._updates: Counter[str] = Counter()

    def update(self, **scores: Tensor) -> dict[str, float]:
        values = dict(zip(scores, torch.stack(list(scores.values())).tolist(), strict=True))
        for name, value in values.items():
            if math.isnan(value):
                raise RuntimeError(f"{self._what}: {name} is not a number")
            self._sums[name] += value
            self._updates[name] += 1
        return values

    def compute(self) -> dict[str, float]:
        if not self._sums:
            raise InputError(f"{self._what}: nothing was scored; call update() first")
        return {name: total / self._updates[name] for name, total in self._sums.items()}


def _fraction(hits: Tensor) -> Tensor:
    return hits.double().mean()


def _check_shapes(what: str, predicted: Tensor, true: Tensor, channels: int | None = None) -> None:
    wanted = "(B, H, W)" if channels is None else f"(B, H, W, {channels})"
    fits = true.ndim == (3 if channels is None else 4) and channels in (None, true.shape[-1])
    if predicted.shape != true.shape or not fits:
        raise InputError(
            f"{what}: predicted has shape {tuple(predicted.shape)} and true {tuple(true.shape)}; "
            f"both must be the same {wanted}"
        )


def _check_scored(what: str, scored: Tensor, why: str) -> None:
    if not bool(scored.any()):
        raise InputError(f"{what}: nothing to score: {why}")
