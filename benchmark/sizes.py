"""Models of the sizes that are measured, with random weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import (
    PCA,
    Bundle,
    DepthTask,
    Encoder,
    EncoderConfig,
    HeadConfig,
    MaskedConfig,
    MaskedForecaster,
    NormalsTask,
    build_head,
)
from dino_foresight_ros.model.class_lists import cityscapes_segmentation
from dino_foresight_ros.model.tasks import Task


@dataclass(frozen=True)
class Size:
    """A model size.

    Attributes:
        encoder: timm model name.
        image_size: (H, W) pixels.
        channels: C, PCA channels.
        width, layers, heads: of the forecaster.
        head_channels, head_width: of the DPT heads.
    """

    encoder: str
    image_size: tuple[int, int]
    channels: int
    width: int
    layers: int
    heads: int
    head_channels: tuple[int, int, int, int]
    head_width: int


_SMALL = Size("vit_small_patch14_reg4_dinov2", (224, 448), 384, 384, 6, 6, (64, 128, 256, 256), 128)
_BASE = Size(
    "vit_base_patch14_reg4_dinov2", (224, 448), 1152, 1152, 12, 8, (128, 256, 512, 512), 256
)
SIZES: dict[str, Size | None] = {
    "tiny": None,
    "small": _SMALL,
    "base": _BASE,
    "base-highres": replace(_BASE, image_size=(448, 896)),
}
"""tiny: the untrained-tiny bundle. small: ViT-S, width 384, 6 layers. base: the paper's model."""


def build(name: str, seed: int = 0) -> Bundle:
    """A bundle of a size, float32 on the CPU.

    Raises:
        UsageError: an unknown size.
    """
    if name not in SIZES:
        raise UsageError(f"size '{name}' is unknown; valid: {', '.join(SIZES)}")
    size = SIZES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Bundle.untrained(seed) if size is None else _build(name, size)


def _build(name: str, size: Size) -> Bundle:
    encoder = Encoder(EncoderConfig(size.encoder, size.image_size, layers=(2, 5, 8, 11)))
    features = encoder.feature_size
    pca = PCA.from_arrays(
        torch.zeros(features),
        torch.ones(features),
        torch.zeros(features),
        torch.randn(size.channels, features) / features**0.5,
    )
    forecaster = MaskedForecaster(
        MaskedConfig(
            channels=size.channels,
            grid=encoder.config.grid,
            width=size.width,
            layers=size.layers,
            heads=size.heads,
        )
    )
    torch.nn.init.xavier_uniform_(forecaster.out.weight)
    every: tuple[Task, ...] = (cityscapes_segmentation(), DepthTask(), NormalsTask())
    tasks = {task.name: task for task in every}
    heads = {
        key: build_head(
            HeadConfig(task.outputs, channels=size.head_channels, width=size.head_width),
            encoder.embed_dim,
            layers=4,
        )
        for key, task in tasks.items()
    }
    return Bundle(name, encoder, pca, forecaster, heads, tasks, 0.18, trained=False)
