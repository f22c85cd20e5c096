"""Fit a PCA to any number of features in one pass, in memory that does not grow with them.

Mean and covariance are accumulated exactly in float64: each chunk is centred on its own mean and
the chunks' sums are merged (Chan, Golub and LeVeque 1983). Some DINOv2 channels have means many
times their standard deviation, where sums of squares would lose what varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model.pca import PCA, IdentityPCA

from .parts import Origin, fingerprint

CHUNK = 4096
"""Tokens per matrix product: long enough for a fast one, 50 MB in float64 at 1,536 values."""
BLOCK = 384
"""Side of the blocks in which only the upper half of a product of a matrix with itself is made."""
_CONSTANT = 1e-12
"""A standard deviation below this share of the largest value seen is rounding, not variation."""


@dataclass(frozen=True)
class Spectrum:
    """How the standardised variance spreads over the components.

    Attributes:
        tokens: how many the fit saw.
        ratios: (F,) float64, falling, share of the variance that each component keeps.
        constant: (F,) bool, values that never vary: they have no part in any component.
    """

    tokens: int
    ratios: Tensor
    constant: Tensor

    def kept(self, channels: int) -> float:
        """Share of the variance that the first components keep together."""
        return float(self.ratios[:channels].sum())

    def channels_for(self, share: float) -> int:
        """Fewest components that keep at least a share of the variance.

        Raises:
            UsageError: a share that is not in (0, 1].
        """
        if not 0 < share <= 1:
            raise UsageError(f"the share of variance to keep is {share}; it must be in (0, 1]")
        reached = self.ratios.cumsum(0) >= share - 1e-9
        return int(reached.nonzero()[0]) + 1 if bool(reached.any()) else len(self.ratios)


class StreamingPCA:
    """Mean and covariance of tokens that come in pieces of any size."""

    def __init__(self, features: int, device: str | torch.device = "cpu") -> None:
        """Start with nothing seen.

        Args:
            features: F, values per token.
            device: where float64 products are made; a GPU has to support float64.
        """
        self.features = features
        self.tokens = 0
        self._mean = torch.zeros(features, dtype=torch.float64, device=device)
        # Sum of products of deviations; only blocks on and above the diagonal are kept up.
        self._scatter = self._mean.new_zeros(features, features)
        self._largest = torch.zeros_like(self._mean)
        self._waiting: list[Tensor] = []

    def update(self, tokens: Tensor) -> None:
        """Take tokens in.

        Args:
            tokens: (n, F), any floating type, on any device.

        Raises:
            InputError: another shape, or values that are not finite.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.features:
            raise InputError(
                f"tokens have shape {tuple(tokens.shape)}, expected (n, {self.features})"
            )
        for piece in tokens.split(CHUNK):
            self._waiting.append(piece.detach().to(self._mean.device))
            if sum(map(len, self._waiting)) >= CHUNK:
                self._flush()

    @torch.no_grad()
    def _flush(self) -> None:
        """Merge what waits: pieces smaller than a chunk would make slow products."""
        if not self._waiting:
            return
        chunk = torch.cat([piece.double() for piece in self._waiting])
        self._waiting.clear()
        if not bool(torch.isfinite(chunk).all()):
            raise InputError(
                "the encoder gives NaN or infinity; half precision may be too narrow for it: "
                "try --dtype float32"
            )
        self._largest = torch.maximum(self._largest, chunk.abs().amax(dim=0))
        count, mean = len(chunk), chunk.mean(dim=0)
        chunk -= mean
        delta = mean - self._mean
        total = self.tokens + count
        weight = self.tokens * count / total
        for start in range(0, self.features, BLOCK):
            rows = slice(start, min(start + BLOCK, self.features))
            block = self._scatter[rows, start:]
            block.addmm_(chunk[:, rows].T, chunk[:, start:])
            block.addr_(delta[rows], delta[start:], alpha=weight)
        self._mean += delta * (count / total)
        self.tokens = total

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (F,) and population covariance (F, F) of all tokens so far, float64.

        Raises:
            InputError: fewer than two tokens.
        """
        self._flush()
        if self.tokens < 2:
            raise InputError(f"{self.tokens} tokens are too few to fit a PCA; give more frames")
        upper = torch.triu(self._scatter)
        return self._mean.clone(), (upper + torch.triu(upper, 1).T) / self.tokens

    def fit(self, channels: int | None = None, keep: float | None = None) -> tuple[PCA, Spectrum]:
        """Standardise and decompose.

        Values that never vary get a standard deviation of 1 and weight 0 in every component.

        Args:
            channels: C, components to keep.
            keep: instead: the share of the standardised variance to keep, in (0, 1].

        Returns:
            The PCA, each component's largest weight positive, and the whole spectrum.

        Raises:
            UsageError: both or neither are given, or they are out of range.
            InputError: too few tokens, or tokens that do not vary.
        """
        if (channels is None) == (keep is None):
            raise UsageError("give either the number of channels or the share to keep")
        mean, covariance = self.moments()
        std = covariance.diagonal().sqrt()
        constant = std <= _CONSTANT * self._largest.clamp(min=torch.finfo(torch.float32).tiny)
        if bool(constant.all()):
            raise InputError("the features do not vary at all; give frames that differ")
        std = torch.where(constant, torch.ones_like(std), std)
        correlation = covariance / std[:, None] / std
        varying = (~constant).nonzero()[:, 0]
        values, vectors = torch.linalg.eigh(correlation[varying][:, varying])
        ratios = torch.zeros_like(std)
        ratios[: len(varying)] = values.flip(0).clamp(min=0) / values.clamp(min=0).sum()
        spectrum = Spectrum(self.tokens, ratios.cpu(), constant.cpu())
        channels = spectrum.channels_for(keep) if keep is not None else channels
        assert channels is not None
        self._check_channels(channels, len(varying))
        weights = vectors.flip(1)[:, :channels].T
        largest = weights.gather(1, weights.abs().argmax(dim=1, keepdim=True))
        components = torch.zeros_like(covariance[:channels])
        components[:, varying] = weights * largest.sign()
        pca = PCA.from_arrays(
            mean=mean.cpu(),
            std=std.cpu(),
            centre=torch.zeros(self.features),
            components=components.cpu(),
            explained_variance_ratio=spectrum.ratios[:channels],
        )
        return pca, spectrum

    def _check_channels(self, channels: int, varying: int) -> None:
        if not 1 <= channels <= varying:
            raise UsageError(
                f"channels is {channels}; it must be 1 to {varying}, the feature values that vary"
            )
        if self.tokens <= channels:
            raise InputError(
                f"{self.tokens} tokens cannot give {channels} components; give more frames or "
                "fewer channels"
            )


def pca_config(pca: PCA | IdentityPCA) -> dict[str, int]:
    """What the module is built from."""
    return {"features": pca.features, "channels": pca.channels}


def pca_fingerprint(pca: PCA | IdentityPCA) -> str:
    """Hash of sizes and arrays, in float32."""
    return fingerprint(pca_config(pca), {n: t.float() for n, t in pca.state_dict().items()})


IDENTITY = "no PCA"


def pca_origin(pca: PCA | IdentityPCA, name: str) -> Origin:
    """Name and fingerprint of a PCA."""
    return Origin(IDENTITY if isinstance(pca, IdentityPCA) else name, pca_fingerprint(pca))
