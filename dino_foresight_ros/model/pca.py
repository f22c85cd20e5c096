"""Standardise, then project features to a few channels, and back (paper sec. 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError


class PCA(nn.Module):
    """Linear compression of multi-layer features.

    Buffers (float32): `mean`, `std` (F,) of the standardisation; `centre` (F,), the mean that the
    PCA subtracts after it; `components` (C, F), orthonormal rows; `explained_variance_ratio` (C,),
    share of the standardised variance that each component keeps.
    """

    mean: Tensor
    std: Tensor
    centre: Tensor
    components: Tensor
    explained_variance_ratio: Tensor

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.features, self.channels = features, channels
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("components", torch.zeros(channels, features).fill_diagonal_(1.0))
        self.register_buffer("explained_variance_ratio", torch.zeros(channels))

    @classmethod
    def from_arrays(
        cls,
        mean: Tensor,
        std: Tensor,
        centre: Tensor,
        components: Tensor,
        explained_variance_ratio: Tensor | None = None,
    ) -> PCA:
        """Build from fitted arrays; shapes as the buffers.

        Raises:
            BundleError: shapes that do not fit, or a standard deviation that is not positive.
        """
        channels, features = components.shape
        pca = cls(features, channels)
        ratio = (
            torch.zeros(channels) if explained_variance_ratio is None else explained_variance_ratio
        )
        state = {
            "mean": mean,
            "std": std,
            "centre": centre,
            "components": components,
            "explained_variance_ratio": ratio,
        }
        for name, value in state.items():
            want = tuple(getattr(pca, name).shape)
            if tuple(value.shape) != want:
                raise BundleError(f"PCA {name} has shape {tuple(value.shape)}, expected {want}")
        if not bool((std > 0).all()):
            raise BundleError("PCA std has values that are not positive; fit it on varied frames")
        pca.load_state_dict({name: value.float() for name, value in state.items()})
        return pca

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Choose the number format of the projection and of what comes out.

        Standardisation stays in float32: some DINOv2 channels have means many times their
        standard deviation, which eight bits of mantissa would drown.
        """
        self.components = self.components.to(dtype)

    def transform(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., C)."""
        standardised = (features.float() - self.mean) / self.std - self.centre
        return standardised.to(self.components.dtype) @ self.components.T

    def inverse(self, z: Tensor) -> Tensor:
        """(..., C) -> (..., F)."""
        projected = (z.to(self.components.dtype) @ self.components).float()
        # In one pass over the features, which are many: half of the time.
        shift = self.centre * self.std + self.mean
        return torch.addcmul(shift, projected, self.std).to(self.components.dtype)


class IdentityPCA(nn.Module):
    """No compression: the forecaster works on the features themselves (a paper ablation)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = self.channels = features

    def set_dtype(self, dtype: torch.dtype) -> None:
        """Nothing to convert."""

    def transform(self, features: Tensor) -> Tensor:
        """(..., F) -> the same."""
        return features

    def inverse(self, z: Tensor) -> Tensor:
        """(..., F) -> the same."""
        return z
