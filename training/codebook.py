"""The codebook of a forecaster that predicts codes: k-means over features of the training clips."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.spread import spread

from .data import ClipDataset

TOKENS = 200_000
"""Patches to fit on at most."""
_CLIPS = 256


@torch.no_grad()
def fit_codebook(clips: ClipDataset, to_features: nn.Module, codes: int, seed: int) -> Tensor:
    """Cluster the patches of clips that are spread evenly.

    Args:
        clips: to train on.
        to_features: frames of a clip -> (B, T, h, w, C).
        codes: K.
        seed: of the patches and of k-means.

    Returns:
        (K, C) float32 cluster centres, by scikit-learn's MiniBatchKMeans.

    Raises:
        InputError: fewer patches than codes.
    """
    from sklearn.cluster import MiniBatchKMeans

    chosen = spread(len(clips), _CLIPS)
    rng = np.random.default_rng([seed, 11])
    found = []
    for index in chosen:
        tokens = to_features(clips[index]["frames"][None]).flatten(0, 3).float().numpy()
        most = max(1, TOKENS // len(chosen))
        found.append(tokens[rng.permutation(len(tokens))[:most]])
    tokens = np.concatenate(found)
    if len(tokens) < codes:
        raise InputError(f"{codes} codes of {len(tokens)} patches: give fewer codes, or more data")
    kmeans = MiniBatchKMeans(codes, random_state=seed, n_init=1, batch_size=max(1024, 3 * codes))
    return torch.from_numpy(kmeans.fit(tokens).cluster_centers_.astype(np.float32))
