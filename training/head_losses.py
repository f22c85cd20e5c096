"""What heads are trained to lower."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.model.tasks import DepthTask, upsample

from .objective import Loss

SILOG_VARIANCE = 0.85
"""How much of a common scale error is forgiven (Eigen et al. 2014 with AdaBins' weight)."""
_IGNORED = -100


def segmentation_loss(raw: Tensor, label: Tensor, weights: Tensor | None = None) -> Loss:
    """Cross-entropy; 255 is left out.

    Args:
        raw: (B, K, h, w).
        label: (B, H, W) uint8 class ids.
        weights: (K,) of the classes; equal when None.
    """
    known = label != UNLABELLED
    target = torch.where(known, label.long(), _IGNORED)
    return _cross_entropy(upsample(raw, _size(label)), target, weights)


def relative_depth_loss(raw: Tensor, label: Tensor, task: DepthTask, levels: bool = False) -> Loss:
    """Cross-entropy over the bins of relative inverse depth, as the authors train.

    Bin 0 is left out, as theirs is (`ignore_index=0`): it is where nothing is known, and the
    farthest there is.

    Args:
        raw: (B, bins, h, w).
        label: (B, H, W) metres, NaN unknown; or levels.
        task: how many bins.
        levels: whether labels are levels, 0 or NaN unknown, which are bins as they are.
    """
    target, known = level_bins(label, task.bins) if levels else relative_inverse(label, task.bins)
    target = torch.where(known & (target > 0), target, _IGNORED)
    return _cross_entropy(upsample(raw, _size(label)), target, None)


def level_bins(levels: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Levels 1 to 255 -> (B, H, W) int64 bins, and (B, H, W) bool, where they are known."""
    known = torch.isfinite(levels) & (levels > 0)
    share = torch.where(known, levels.double(), 0.0) / 255.0
    return (share * (bins - 1)).round().long().clamp(0, bins - 1), known


def relative_inverse(metres: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """Metres to what a relative head gives: inverse depth stretched over the bins per image.

    Args:
        metres: (B, H, W), NaN unknown.
        bins: 0 is the farthest known pixel of the image, bins - 1 the nearest.

    Returns:
        (B, H, W) int64 bins, and (B, H, W) bool, where they are known.
    """
    known = torch.isfinite(metres) & (metres > 0)
    inverse = torch.where(known, 1 / metres.double(), torch.nan)
    least = torch.where(known, inverse, torch.inf).amin(dim=(1, 2), keepdim=True)
    most = torch.where(known, inverse, -torch.inf).amax(dim=(1, 2), keepdim=True)
    share = (inverse - least) / (most - least).clamp(min=1e-12)
    return torch.where(known, share * (bins - 1), 0.0).round().long().clamp(0, bins - 1), known


def metric_depth_loss(
    raw: Tensor,
    label: Tensor,
    task: DepthTask,
    complete: bool = False,
    weights: Tensor | None = None,
) -> Loss:
    """Scale-invariant log error of the expected depth, and cross-entropy over the bins.

    The first is about the expectation over log-spaced bins, the second makes them a distribution
    and gives every bin a direction: a depth is the two nearest bins, in the shares whose mean it
    is. Depths outside the task's range are left out of both. A head with a validity output learns
    by cross-entropy where there is a depth within the range.

    Args:
        raw: (B, bins, h, w), one channel more with validity.
        label: (B, H, W) metres, NaN unknown.
        task: range and bins.
        complete: whether NaN means that there is no depth, as in the sky; otherwise that none was
            measured, and only depths beyond the range teach validity.
        weights: (B, H, W) of the pixels in the first two; equal when None.
    """
    assert task.min_m is not None
    assert task.max_m is not None
    known = torch.isfinite(label) & (label >= task.min_m) & (label <= task.max_m)
    share = known.float().mean()
    predicted = task.metres(raw, _size(label))
    true = torch.where(known, label.float(), 1.0)
    error = torch.where(known, predicted.clamp(min=1e-3).log() - true.log(), 0.0)
    counted = known.float() if weights is None else known * weights
    count = counted.sum().clamp(min=1e-6)
    mean, square = (counted * error).sum() / count, (counted * error.square()).sum() / count
    # The root's slope is endless at 0.
    silog = (square - SILOG_VARIANCE * mean.square() + 1e-6).sqrt()
    small = shrink(label, (raw.shape[-2], raw.shape[-1]))
    small_weights = None if weights is None else shrink(weights, (raw.shape[-2], raw.shape[-1]))
    value = silog + _two_bins(raw[:, : task.bins], small, task, small_weights)
    value = torch.where(known.any(), value, 0.0 * raw.float().sum())
    if task.validity:
        value = value + _validity_loss(raw[:, task.bins], small, task, complete)
    return Loss(value, share)


def _validity_loss(logits: Tensor, label: Tensor, task: DepthTask, complete: bool) -> Tensor:
    """Binary cross-entropy of a depth within the range; label of the raw output's size."""
    assert task.min_m is not None
    assert task.max_m is not None
    told = torch.isfinite(label) | complete
    target = (label >= task.min_m) & (label <= task.max_m)
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), target.float(), reduction="none"
    )
    return torch.where(told, each, 0.0).sum() / told.sum().clamp(min=1)


def _two_bins(raw: Tensor, label: Tensor, task: DepthTask, weights: Tensor | None) -> Tensor:
    """Cross-entropy against the two bins around each depth; label of the raw output's size."""
    centres = task.centres(raw.device)
    known = torch.isfinite(label) & (label >= centres[0]) & (label <= centres[-1])
    metres = torch.where(known, label.float(), centres[0])
    upper = torch.searchsorted(centres, metres.contiguous()).clamp(1, task.bins - 1)
    lower = upper - 1
    share = (metres - centres[lower]) / (centres[upper] - centres[lower])
    logs = raw.float().log_softmax(dim=1)
    picked = (1 - share) * _pick(logs, lower) + share * _pick(logs, upper)
    counted = known.float() if weights is None else known * weights
    return -(counted * picked).sum() / counted.sum().clamp(min=1e-6)


def _pick(logs: Tensor, bins: Tensor) -> Tensor:
    return logs.gather(1, bins[:, None])[:, 0]


def normals_loss(raw: Tensor, label: Tensor) -> Loss:
    """One minus the cosine, plus the squared distance of the raw vector, as the authors train.

    Args:
        raw: (B, 3, h, w).
        label: (B, H, W, 3) unit vectors, NaN unknown.
    """
    known = torch.isfinite(label).all(dim=-1)
    true = torch.where(known[..., None], label.float(), 0.0)
    vectors = upsample(raw, _size(label)).float().permute(0, 2, 3, 1)
    cosine = functional.cosine_similarity(vectors, true, dim=-1)
    distance = (vectors - true).square().sum(dim=-1)
    per_pixel = torch.where(known, 1 - cosine + distance, 0.0)
    return Loss(per_pixel.sum() / known.sum().clamp(min=1), known.float().mean())


def _cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None) -> Loss:
    known = target != _IGNORED
    weights = None if weights is None else weights.to(logits.device)
    total = functional.cross_entropy(
        logits.float(), target, weight=weights, ignore_index=_IGNORED, reduction="sum"
    )
    if weights is None:
        count = known.sum()
    else:
        count = torch.where(known, weights[target.clamp(min=0)], 0.0).sum()
    # A picture without any label has a loss of 0, not NaN.
    return Loss(total / count.clamp(min=1e-6), known.float().mean())


def shrink(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest label of each output pixel: (B, H, W, ...) -> (B, *size, ...)."""
    height, width = label.shape[1:3]
    if (height, width) == tuple(size):
        return label
    rows = ((torch.arange(size[0], device=label.device) + 0.5) * height / size[0]).long()
    columns = ((torch.arange(size[1], device=label.device) + 0.5) * width / size[1]).long()
    return label[:, rows[:, None], columns]


def class_weights(counts: Tensor, kind: str) -> Tensor | None:
    """Weights of classes by how often they occur, with mean 1 over those that occur.

    Args:
        counts: (K,) pixels of each class.
        kind: "none", "median-frequency" or "inverse-sqrt".

    Returns:
        (K,) float32, 0 for a class that never occurs; None for equal weights.
    """
    if kind == "none":
        return None
    share = counts.double() / counts.sum().clamp(min=1)
    occurs = counts > 0
    rare = torch.where(occurs, share, 1.0)
    weights = share[occurs].median() / rare if kind == "median-frequency" else rare.rsqrt()
    weights = torch.where(occurs, weights, 0.0)
    return (weights / weights[occurs].mean()).float()


def _size(label: Tensor) -> tuple[int, int]:
    return int(label.shape[1]), int(label.shape[2])
