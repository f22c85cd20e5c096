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
    Forecaster,
    HeadConfig,
    MaskedConfig,
    MaskedForecaster,
    NormalsTask,
    WorldConfig,
    WorldForecaster,
    build_head,
)
from dino_foresight_ros.model.class_lists import cityscapes_segmentation
from dino_foresight_ros.model.forecasters import KINDS
from dino_foresight_ros.model.tasks import Task


@dataclass(frozen=True)
class Size:
    """A model size.

    Attributes:
        encoder: timm model name.
        image_size: (H, W) pixels.
        channels: C, PCA channels.
        width, layers, heads: of the forecaster; one of kind world has heads of 64 values.
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


def build(name: str, seed: int = 0, kind: str = "masked") -> Bundle:
    """A bundle of a size, float32 on the CPU.

    Args:
        name: one of `SIZES`.
        seed: of the random weights.
        kind: of the forecaster, one of `KINDS`.

    Raises:
        UsageError: an unknown size or kind.
    """
    if name not in SIZES:
        raise UsageError(f"size '{name}' is unknown; valid: {', '.join(SIZES)}")
    size = SIZES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if size is not None:
            return _build(name, size, kind)
        bundle = Bundle.untrained(seed)
        if kind != bundle.forecaster.kind:
            assert isinstance(bundle.forecaster, MaskedForecaster)
            was = bundle.forecaster.config
            bundle.forecaster = untrained_forecaster(
                kind, was.channels, was.grid, was.width, was.layers, was.heads
            )
        return bundle


def untrained_forecaster(
    kind: str, channels: int, grid: tuple[int, int], width: int, layers: int, heads: int
) -> Forecaster:
    """A forecaster of random weights that forecasts a change.

    Raises:
        UsageError: an unknown kind.
    """
    if kind == "world":
        return WorldForecaster(
            WorldConfig(channels, width, layers, width // 64, query_newest=True, predict="residual")
        )
    if kind != "masked":
        raise UsageError(f"kind '{kind}' is unknown; valid: {', '.join(KINDS)}")
    forecaster = MaskedForecaster(MaskedConfig(channels, grid, width, layers, heads, dropout=0.0))
    # The output layer starts at zero, which would make every forecast the same constant.
    torch.nn.init.xavier_uniform_(forecaster.out.weight)
    return forecaster


def _build(name: str, size: Size, kind: str) -> Bundle:
    encoder = Encoder(EncoderConfig(size.encoder, size.image_size, layers=(2, 5, 8, 11)))
    features = encoder.feature_size
    pca = PCA.from_arrays(
        torch.zeros(features),
        torch.ones(features),
        torch.zeros(features),
        torch.randn(size.channels, features) / features**0.5,
    )
    grid = encoder.config.grid
    forecaster = untrained_forecaster(
        kind, size.channels, grid, size.width, size.layers, size.heads
    )
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
