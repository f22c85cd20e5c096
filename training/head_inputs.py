"""What a head is trained on: frozen features of pictures, or of forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.forecasters import Forecaster, Prediction
from dino_foresight_ros.model.heads import HeadInput
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.planar_motion import moved_until


class HeadInputs(nn.Module):
    """Pictures in, a head's input out, in two steps: what is worth keeping, and the rest.

    Frozen. With a forecaster, the last of a clip's pictures is what the labels belong to, and those
    before the forecast steps are what it is forecast from.
    """

    def __init__(
        self,
        encoder: Encoder,
        pca: PCA | IdentityPCA,
        forecaster: Forecaster | None = None,
        reads: HeadInput | None = None,
        steps: Sequence[int] = (1,),
    ) -> None:
        """Put the parts together.

        Args:
            encoder, pca, forecaster: the parts; pictures' own features without a forecaster.
            reads: what the head reads.
            steps: how far to forecast. The pictures of a batch take turns; 0 gives their own
                features, so that a head learns to read both.

        Raises:
            BundleError: they do not fit one another, or a layer that the forecaster lacks.
        """
        super().__init__()
        self.encoder, self.pca, self.forecaster = encoder, pca, forecaster
        self.reads, self.steps = reads or HeadInput(), tuple(steps)
        self._check()
        self.requires_grad_(False)
        self.eval()

    def _check(self) -> None:
        if self.encoder.feature_size != self.pca.features:
            raise BundleError(
                f"the encoder gives {self.encoder.feature_size} values per patch, the PCA takes "
                f"{self.pca.features}"
            )
        if self.forecaster is None:
            if self.reads.layers:
                raise BundleError("a head that reads the forecaster's layers needs a forecaster")
            return
        forecaster = self.forecaster
        grids = (None, self.encoder.config.grid)
        if forecaster.channels != self.pca.channels or forecaster.grid not in grids:
            raise BundleError(
                f"the forecaster takes {forecaster.channels} channels on a patch grid of "
                f"{forecaster.grid}, the PCA gives {self.pca.channels} and the encoder "
                f"{self.encoder.config.grid}; give the --image-size it was trained with"
            )
        if self.reads.layers and self.reads.layers[-1] >= forecaster.layers:
            raise BundleError(
                f"forecaster layer {self.reads.layers[-1]} does not exist; it has "
                f"{forecaster.layers}, counted from 0"
            )

    def train(self, mode: bool = True) -> HeadInputs:
        """Stay in evaluation mode."""
        super().train(False)
        return self

    @property
    def embed_dim(self) -> int:
        """Values per layer that a head reads."""
        if self.reads.layers:
            assert self.forecaster is not None
            return self.forecaster.width
        return self.encoder.embed_dim

    @property
    def layers(self) -> int:
        """Layers that a head reads."""
        return len(self.reads.layers) or self.encoder.layers

    @property
    def kept_channels(self) -> int:
        """Values per patch of `compact`."""
        return self.embed_dim * self.layers if self.reads.layers else self.pca.channels

    @torch.no_grad()
    def compact(self, images: Tensor, oracle: bool = False, motion: Tensor | None = None) -> Tensor:
        """Encode, and forecast where there is a forecaster.

        Args:
            images: (B, H, W, 3) uint8, or (B, T, H, W, 3) clips with a forecaster.
            oracle: encode the last picture of each clip instead of forecasting it.
            motion: (B, T - 1, 3) of the vehicle from each picture of a clip to the next, for a
                forecaster that takes it; NaN or None where it is not known.

        Returns:
            (B, h, w, kept_channels) float32: PCA channels, or the forecaster's layers.
        """
        if self.forecaster is None or oracle:
            return self._encode(images[:, -1] if images.ndim == 5 else images)
        turns = len(self.steps)
        shared = [
            self._ahead(images[i::turns], steps, None if motion is None else motion[i::turns])
            for i, steps in enumerate(self.steps)
        ]
        found = torch.empty(len(images), *shared[0].shape[1:], device=shared[0].device)
        for i, features in enumerate(shared):
            found[i::turns] = features
        return found

    def _ahead(self, clips: Tensor, steps: int, motion: Tensor | None) -> Tensor:
        """Features of the last pictures (B, h, w, kept_channels), forecast so many steps before."""
        assert self.forecaster is not None
        if not len(clips):
            return clips.new_empty(0, *self.encoder.config.grid, self.kept_channels).float()
        if steps == 0:
            return self._encode(clips[:, -1])
        count, end = self.forecaster.context_frames, clips.shape[1] - steps
        context = clips[:, end - count : end]
        z = self._encode(context.flatten(0, 1)).unflatten(0, (-1, count))
        asked = self.forecaster.evenly_spaced(z, steps)
        told = None
        if motion is not None and self.forecaster.takes_motion:
            told = torch.from_numpy(moved_until(motion[:, end - 1 :].cpu().numpy()))
        if not self.reads.layers:
            return self.forecaster.forecast(*asked, told)[:, 0, -1].float()
        parts = self.forecaster.stream(*asked, layers=self.reads.layers, motion=told)
        hidden = Prediction.join(parts).hidden
        return torch.cat([hidden[i][:, 0, -1] for i in self.reads.layers], dim=-1).float()

    def _encode(self, images: Tensor) -> Tensor:
        features = self.encoder(self.encoder.preprocess(images))
        # Standardising divides by small deviations: half precision is for the products alone.
        with torch.autocast(features.device.type, enabled=False):
            return self.pca.transform(features.float()).float()

    @torch.no_grad()
    def expand(self, compact: Tensor) -> Tensor:
        """(B, h, w, kept_channels) -> (B, h, w, L*D), what the head reads."""
        if self.reads.layers:
            return compact.float()
        with torch.autocast(compact.device.type, enabled=False):
            return self.pca.inverse(compact.float())
