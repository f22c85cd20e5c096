"""The untrained bundle, which stands in for a trained one: the paper's shapes at a small size."""

from __future__ import annotations

from typing import Any

import torch

from dino_foresight_ros.model.bundle_files import BundleParts
from dino_foresight_ros.model.class_lists import world_segmentation
from dino_foresight_ros.model.dpt import DPTHead, HeadConfig
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.encoders import tiny_encoder_config
from dino_foresight_ros.model.forecasters.masked import MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.heads import build_head
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.model.tasks import DepthTask, NormalsTask, Task
from dino_foresight_ros.outputs import METRIC
from dino_foresight_ros.shipped import UNTRAINED_TINY


def untrained_parts(seed: int = 0, has_heads: bool = True) -> BundleParts:
    """Parts with random weights, with heads or without: predictions mean nothing.

    The same seed gives the same weights. The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return draw_parts(seed, has_heads)


def draw_parts(seed: int, has_heads: bool = True) -> BundleParts:
    """Parts drawn from torch's random state as it is; `seed` is only noted."""
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
    every: tuple[Task, ...] = (world_segmentation(), depth, NormalsTask()) if has_heads else ()
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
    return BundleParts(
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
