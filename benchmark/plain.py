"""The plain way, which the engine is measured against.

As the published code runs: every forecast encodes the whole clip anew, position embeddings are
resampled in every pass, attention goes through torch.nn.MultiheadAttention with its weights
materialised, all frames' tokens go through all blocks, batch norm stays a layer of its own, and
everything is float32. The numbers are the same as the engine's.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.dpt import DPTHead, Fusion
from dino_foresight_ros.model.forecasters import MaskedForecaster
from dino_foresight_ros.model.forecasters.transformer import Attention, Block

FRAMES = 5
"""Frames that the published code encodes per forecast: the context and the frame to predict."""


class PlainAttention(nn.Module):
    """torch's own attention with the weights of `Attention`; keeps the attention weights."""

    def __init__(self, source: Attention) -> None:
        super().__init__()
        width = source.out.in_features
        self.mha = nn.MultiheadAttention(width, source.heads, batch_first=True)
        with torch.no_grad():
            self.mha.in_proj_weight.copy_(source.qkv.weight)
            self.mha.in_proj_bias.copy_(source.qkv.bias)
            self.mha.out_proj.weight.copy_(source.out.weight)
            self.mha.out_proj.bias.copy_(source.out.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, D) -> (B, S, D) and the weights (B, S, S)."""
        out: tuple[Tensor, Tensor] = self.mha(x, x, x, need_weights=True)
        return out


class PlainForecaster(nn.Module):
    """All tokens through all blocks, attention weights collected."""

    def __init__(self, source: MaskedForecaster) -> None:
        super().__init__()
        self.source = source
        self.time = nn.ModuleList(PlainAttention(b.attend_time) for b in _blocks(source))
        self.space = nn.ModuleList(PlainAttention(b.attend_space) for b in _blocks(source))

    def forward(self, frames: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, h, w, C)."""
        source = self.source
        batch, _, height, width, _ = frames.shape
        mask = source.mask_token.expand(batch, 1, height, width, -1)
        x = torch.cat([source.embed(frames), mask], dim=1) + source.positions()
        kept: list[Tensor] = []
        for block, time, space in zip(_blocks(source), self.time, self.space, strict=True):
            tokens = rearrange(block.norm_time(x), "b t h w d -> (b h w) t d")
            out, weights = time(tokens)
            kept.append(weights)
            x = x + rearrange(out, "(b h w) t d -> b t h w d", h=height, w=width)
            tokens = rearrange(block.norm_space(x), "b t h w d -> (b t) (h w) d")
            out, weights = space(tokens)
            kept.append(weights)
            x = x + rearrange(out, "(b t) (h w) d -> b t h w d", b=batch, h=height)
            x = x + block.mlp(block.norm_mlp(x))
        return source.out(x)[:, -1]


def _blocks(forecaster: MaskedForecaster) -> list[Block]:
    return [block for block in forecaster.blocks if isinstance(block, Block)]


class PlainFusion(nn.Module):
    """The reference's order: upsample first, then the 1x1 convolution."""

    def __init__(self, source: Fusion) -> None:
        super().__init__()
        self.source = source

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """As `Fusion`."""
        if skip is not None:
            x = x + self.source.unit1(skip)
        x = self.source.unit2(x)
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
        out: Tensor = self.source.out(x)
        return out


def plain_head(head: DPTHead) -> DPTHead:
    """A copy of the head in the reference's order."""
    plain = copy.deepcopy(head)
    plain.fusions = nn.ModuleList(PlainFusion(f) for f in plain.fusions if isinstance(f, Fusion))
    return plain.eval()


class PlainWay:
    """A forecast from a list of images, the plain way."""

    def __init__(self, bundle: Bundle, steps: int, outputs: tuple[str, ...]) -> None:
        """Build from a float32 bundle, which stays as it is."""
        assert isinstance(bundle.forecaster, MaskedForecaster)
        self.bundle, self.steps = bundle, steps
        self.forecaster = PlainForecaster(bundle.forecaster).to(bundle.device).eval()
        self.heads = {
            name: plain_head(head)
            for name, head in bundle.heads.items()
            if name in outputs and isinstance(head, DPTHead)
        }

    @torch.inference_mode()
    def __call__(self, images: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Forecast from the last four of `images`, encoding FRAMES of them."""
        encoder, pca = self.bundle.encoder, self.bundle.pca
        batch = torch.cat([encoder.preprocess(image[None]) for image in images[-FRAMES:]])
        # Forget the resampled position embeddings, so that they are resampled anew.
        encoder._input_size = None
        frames = pca.transform(encoder(batch))[None]
        frames = frames[:, -self.bundle.context_frames :]
        result: dict[str, np.ndarray] = {}
        for step in range(self.steps):
            predicted = self.forecaster(frames)
            frames = torch.cat([frames[:, 1:], predicted[:, None]], dim=1)
            features = pca.inverse(predicted)
            for name, head in self.heads.items():
                maps = self.bundle.tasks[name].decode(head(features))
                result |= {f"{key}_{step}": value.cpu().numpy() for key, value in maps.items()}
        return result
