"""Errors of predicted features against the true ones, clip by clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

METRICS = ("smooth_l1", "mse", "cosine")
"""SmoothL1 with beta 0.1 (the training loss), squared error, and 1 - cosine similarity."""
BETA = 0.1


@dataclass(frozen=True)
class MeanErrors:
    """Means over clips; lower is better.

    Attributes:
        smooth_l1: SmoothL1, beta 0.1, mean over patches and channels.
        mse: squared error, mean over patches and channels.
        cosine: 1 - cosine similarity of predicted and true patch, mean over patches.
    """

    smooth_l1: float
    mse: float
    cosine: float


def clip_errors(predicted: Tensor, true: Tensor) -> Tensor:
    """Score each clip by itself.

    Args:
        predicted, true: (B, ..., h, w, C) of the same shape.

    Returns:
        (B, ..., 3) float64 on the CPU, in the order of METRICS.
    """
    p, t = predicted.float(), true.float()
    smooth = functional.smooth_l1_loss(p, t, reduction="none", beta=BETA).mean(dim=(-3, -2, -1))
    squared = (p - t).square().mean(dim=(-3, -2, -1))
    cosine = 1.0 - functional.cosine_similarity(p, t, dim=-1).mean(dim=(-2, -1))
    return torch.stack([smooth, squared, cosine], dim=-1).double().cpu()


def energy_scores(futures: Tensor, true: Tensor) -> Tensor:
    """Energy scores of K futures of one truth; less is better.

    E|x - y| - E|x - x'| / 2 (Gneiting and Raftery 2007, eq. 21) with the mean over pairs of
    different futures, which is unbiased; |.| is the root of the mean square over the last
    dimension. Of one future it is its distance, so that one and several can be compared.

    Args:
        futures: (K, ..., n).
        true: (..., n).

    Returns:
        (...) float32.
    """
    each, size = futures.float(), futures.shape[-1] ** 0.5
    from_truth = torch.linalg.vector_norm(each - true.float(), dim=-1).mean(dim=0) / size
    pairs = [(i, j) for i in range(len(each)) for j in range(i)]
    if not pairs:
        return from_truth
    apart = sum(torch.linalg.vector_norm(each[i] - each[j], dim=-1) for i, j in pairs)
    return from_truth - apart / len(pairs) / size / 2


def crps(futures: Tensor, true: Tensor) -> Tensor:
    """Continuous ranked probability score of each value; less is better.

    That is the energy score of single values. The energy score of a long vector tells little more
    of futures than how far apart they are; this one is least where each value differs as it errs.
    Of one future it is its absolute error.

    Args:
        futures: (K, ...).
        true: (...).

    Returns:
        (...) float32.
    """
    each, count = futures.float(), len(futures)
    from_truth = (each - true.float()).abs().mean(dim=0)
    if count == 1:
        return from_truth
    # Of sorted values all pairs' distances add up to their ranks' sum: nothing is kept by pairs.
    ranks = 2.0 * torch.arange(count, device=each.device) - (count - 1)
    apart = torch.tensordot(ranks, each.sort(dim=0).values, dims=1) / (count * (count - 1))
    return from_truth - apart
