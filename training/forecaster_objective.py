"""What a forecaster learns from: clips turned into features, some hidden, and their error."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.forecasters.masked import CODES, MaskedForecaster
from dino_foresight_ros.model.pca import PCA, IdentityPCA

from .losses import masked_loss
from .masking import FULL, frame_mask, random_windows
from .objective import Batch, Loss, Objective


class ToFeatures(nn.Module):
    """From what a clip holds to what a forecaster sees; frozen.

    Clips hold PCA features (float), raw features (float, with a PCA here), or pictures (uint8, with
    an encoder and a PCA here: the reference's way, which computes the encoder in every step).
    """

    def __init__(
        self, pca: PCA | IdentityPCA | None = None, encoder: Encoder | None = None
    ) -> None:
        super().__init__()
        self.pca, self.encoder = pca, encoder
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, h, w, F) float or (B, T, H, W, 3) uint8 -> (B, T, h, w, C) float32."""
        if self.encoder is not None:
            pixels = self.encoder.preprocess(frames.flatten(0, 1))
            frames = self.encoder(pixels).unflatten(0, tuple(frames.shape[:2]))
        # Standardising divides by small deviations: half precision is for the products alone.
        with torch.autocast(frames.device.type, enabled=False):
            return frames.float() if self.pca is None else self.pca.transform(frames).float()


class ForecasterObjective(Objective):
    """Error on hidden tokens of the last frames (paper sec. 3.2), or cross-entropy of codes."""

    model: MaskedForecaster

    def __init__(
        self,
        model: MaskedForecaster,
        to_features: ToFeatures,
        loss: str = "smooth_l1",
        beta: float = 0.1,
        mask_schedule: str = FULL,
        feature_crop: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.to_features = model, to_features
        self.loss, self.beta, self.mask_schedule = loss, beta, mask_schedule
        self.feature_crop = feature_crop

    def forward(self, batch: Batch) -> Loss:
        """Loss of clips {"frames": (B, T, ...)}; T is context and masked frames.

        Of several masked frames each call hides the last 1, 2, ... or all, as the authors' code
        does for its seven-frame model.
        """
        frames = self.to_features(batch["frames"])
        if self.feature_crop is not None:
            frames = random_windows(frames, self.feature_crop)
        config = self.model.config
        most = config.masked_frames
        hidden = int(torch.randint(1, most + 1, ())) if most > 1 else 1
        mask = frame_mask(len(frames), config.frames, config.grid, hidden, self.mask_schedule)
        mask = mask.to(frames.device)
        if config.predict == CODES:
            # Hidden tokens alone count: (tokens, K) logits against (tokens,) codes.
            logits = self.model.outputs(frames, mask)[mask].float()
            codes = self.model.nearest_codes(frames[mask])
            total = functional.cross_entropy(logits, codes, reduction="sum")
            return Loss(total / max(len(codes), 1), mask[:, -most:].float().mean())
        if self.mask_schedule == FULL and hidden == most:
            # The same numbers as `reconstruct`, without the context's outputs that nobody reads.
            predicted = self.model.predict(frames[:, :-most])
        else:
            predicted = self.model.reconstruct(frames, mask)[:, -most:]
        mask = mask[:, -most:]
        value = masked_loss(predicted, frames[:, -most:], mask, self.loss, self.beta)
        return Loss(value, mask.float().mean())
