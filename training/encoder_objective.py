"""Trains a small ViT from nothing, on several dense tasks at once.

For those without a foundation model at hand: the paper takes DINOv2's weights as they are, and so
should everybody who can. The ViT has DINOv2's shape; its chosen layers, concatenated per patch as
the forecaster will see them, are decoded by one linear layer per task into 7 x 7 values per patch.
Little can then hide in a decoder: what the tasks need has to be in the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.model.encoder import EncoderConfig, build_vit
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION

from .objective import Batch, Loss, Objective

PIXELS_PER_SIDE = 7
"""Values decoded per patch and side: half the resolution of 14-pixel patches."""


class PatchDecoder(nn.Module):
    """One linear layer from a patch's features to its pixels."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.out = nn.Linear(features, outputs * PIXELS_PER_SIDE**2)

    def forward(self, features: Tensor) -> Tensor:
        """(B, h, w, F) -> (B, K, 7h, 7w)."""
        pixels = self.out(self.norm(features)).permute(0, 3, 1, 2)
        return functional.pixel_shuffle(pixels, PIXELS_PER_SIDE)


class DenseEncoder(nn.Module):
    """A ViT and its decoders for segmentation, log depth and normals."""

    scale: Tensor
    shift: Tensor

    def __init__(self, config: EncoderConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.vit = build_vit(config)
        features = self.vit.embed_dim * len(config.layers)
        self.decoders = nn.ModuleDict(
            {
                SEGMENTATION: PatchDecoder(features, classes),
                DEPTH: PatchDecoder(features, 1),
                NORMALS: PatchDecoder(features, 3),
            }
        )
        self.register_buffer("scale", torch.tensor(config.std)[:, None, None])
        self.register_buffer("shift", torch.tensor(config.mean)[:, None, None])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, H, W, 3) uint8 of the encoder's image size -> raw outputs (B, K, H/2, W/2)."""
        pixels = (images.permute(0, 3, 1, 2).float() / 255 - self.shift) / self.scale
        for block in self.vit.blocks:
            # On CPUs the fused kernel's backward pass costs more than keeping the weights: a step
            # of 24 pictures of 220 patches took 0.71 s with it and 0.55 s without.
            block.attn.fused_attn = images.is_cuda
        layers = self.vit.forward_intermediates(
            pixels,
            indices=list(self.config.layers),
            norm=self.config.norm,
            output_fmt="NLC",
            stop_early=True,
            intermediates_only=True,
        )
        features = torch.cat(list(layers), dim=-1).unflatten(1, self.config.grid)
        return {name: decoder(features).float() for name, decoder in self.decoders.items()}


class EncoderObjective(Objective):
    """Cross-entropy, error of log depth and angle of normals, where there are labels."""

    def __init__(
        self, model: DenseEncoder, weights: Mapping[str, float], class_weights: Tensor
    ) -> None:
        """Keep the weights.

        Args:
            model: what is trained.
            weights: task -> weight of its loss.
            class_weights: (classes,) weights of the cross-entropy, mean near 1.
        """
        super().__init__()
        self.model = model
        self.weights = dict(weights)
        self.register_buffer("class_weights", class_weights)

    def forward(self, batch: Batch) -> Loss:
        """Loss of a batch of `MixedSamples`."""
        raw = self.model(batch["image"])
        losses = {
            SEGMENTATION: self._segmentation(raw[SEGMENTATION], batch[SEGMENTATION]),
            DEPTH: log_depth_loss(raw[DEPTH], batch[DEPTH]),
            NORMALS: angle_loss(raw[NORMALS], batch[NORMALS]),
        }
        total = sum(self.weights[name] * loss for name, loss in losses.items())
        assert isinstance(total, Tensor)
        return Loss(total)

    def _segmentation(self, logits: Tensor, ids: Tensor) -> Tensor:
        target = _nearest(ids, logits.shape[-2:]).long()
        if not bool((target != UNLABELLED).any()):
            return logits.sum() * 0.0
        weights: Any = self.class_weights
        return functional.cross_entropy(logits, target, weights, ignore_index=UNLABELLED)


def log_depth_loss(raw: Tensor, metres: Tensor) -> Tensor:
    """Smooth L1 of the log of depth where it is known: (B, 1, h, w) against (B, H, W) metres."""
    target = _nearest(metres, raw.shape[-2:])
    known = torch.isfinite(target) & (target > 0)
    error = raw[:, 0] - torch.where(known, target, torch.ones_like(target)).log()
    loss = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.1, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def angle_loss(raw: Tensor, normals: Tensor) -> Tensor:
    """1 - cosine where normals are known: (B, 3, h, w) against (B, H, W, 3)."""
    target = _nearest(normals, raw.shape[-2:]).permute(0, 3, 1, 2)
    known = torch.isfinite(target).all(dim=1)
    cosine = functional.cosine_similarity(raw, target.nan_to_num(0.0), dim=1)
    return ((1 - cosine) * known).sum() / known.sum().clamp(min=1)


def _nearest(labels: Tensor, size: torch.Size) -> Tensor:
    """(B, H, W, ...) -> (B, *size, ...), size half of it: one pixel of each 2 x 2."""
    rows = torch.arange(size[0], device=labels.device) * labels.shape[1] + labels.shape[1] // 2
    columns = torch.arange(size[1], device=labels.device) * labels.shape[2] + labels.shape[2] // 2
    return labels[:, rows // size[0]][:, :, columns // size[1]]
