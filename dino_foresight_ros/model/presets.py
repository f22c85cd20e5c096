"""Ready-made configurations, and the untrained bundle that stands in for a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dino_foresight_ros.classes import MOVING_CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.encoder import Encoder, EncoderConfig
from dino_foresight_ros.model.forecasters.masked import MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.heads import DPTHead, HeadConfig, build_head
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.model.tasks import DepthTask, NormalsTask, SegmentationTask, Task
from dino_foresight_ros.outputs import METRIC
from dino_foresight_ros.shipped import UNTRAINED_TINY


def world_segmentation() -> SegmentationTask:
    """Segmentation into the synthetic world's classes."""
    return SegmentationTask(
        class_names=tuple(info.name for info in WORLD_CLASSES),
        palette=tuple(info.color for info in WORLD_CLASSES),
        moving=MOVING_CLASS_IDS,
    )


def tiny_encoder_config(image_size: tuple[int, int] = (126, 224)) -> EncoderConfig:
    """A ViT of the DINOv2 shape (14-pixel patches, 4 registers) at width 192, 12 blocks."""
    return EncoderConfig(
        model="vit_small_patch14_reg4_dinov2",
        image_size=image_size,
        layers=(2, 5, 8, 11),
        native_image_size=image_size,
        overrides={"embed_dim": 192, "depth": 12, "num_heads": 3},
    )


def untrained_tiny(seed: int = 0) -> Bundle:
    """The paper's shapes at a small size, with random weights: predictions mean nothing.

    The same seed gives the same weights. The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _untrained_tiny(seed)


def _untrained_tiny(seed: int) -> Bundle:
    channels = 192
    encoder = Encoder(tiny_encoder_config())
    components, _ = torch.linalg.qr(torch.randn(encoder.feature_size, channels))
    pca = PCA.from_arrays(
        mean=torch.zeros(encoder.feature_size),
        std=torch.ones(encoder.feature_size),
        centre=torch.zeros(encoder.feature_size),
        components=components.T.contiguous(),
    )
    config = MaskedConfig(channels=channels, grid=encoder.config.grid, width=192, layers=4, heads=4)
    forecaster = MaskedForecaster(config)
    # The output layer starts at zero, which would make every forecast the same constant.
    torch.nn.init.xavier_uniform_(forecaster.out.weight)
    depth = DepthTask(kind=METRIC, bins=64, min_m=1.0, max_m=80.0)
    every: tuple[Task, ...] = (world_segmentation(), depth, NormalsTask())
    tasks = {task.name: task for task in every}
    heads = {
        name: build_head(
            HeadConfig(outputs=task.outputs, channels=(24, 48, 96, 96), width=48),
            encoder.embed_dim,
            len(encoder.config.layers),
        )
        for name, task in tasks.items()
    }
    for head in heads.values():
        # Fresh output layers are so timid that every pixel gets nearly the same value.
        assert isinstance(head, DPTHead)
        last: Any = head.output[4]
        last.weight.data.mul_(20)
    return Bundle(
        name=UNTRAINED_TINY,
        encoder=encoder,
        pca=pca,
        forecaster=forecaster,
        heads=heads,
        tasks=tasks,
        frame_interval_s=0.2,
        trained=False,
        info={"note": "random weights; predictions mean nothing", "seed": seed},
    )


def write_untrained_tiny(out: Path, seed: int = 0, overwrite: bool = False) -> Path:
    """Write the untrained bundle to a folder.

    Raises:
        BundleError: the folder exists and `overwrite` is False.
    """
    return untrained_tiny(seed).save(out, overwrite=overwrite)
