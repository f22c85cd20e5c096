"""A model small enough that a plain loop over it is quick."""

from __future__ import annotations

from functools import lru_cache

import torch
from copies import Copies
from torch import Tensor

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
from dino_foresight_ros.model.class_lists import world_segmentation


def make_micro_bundle() -> Bundle:
    """Random weights, every part of the real thing, 4x6 patches."""
    copies, state = _kept()
    torch.set_rng_state(state)  # as if they were drawn each time
    bundle: Bundle = copies.copy()
    return bundle


@lru_cache
def _kept() -> tuple[Copies, Tensor]:
    return Copies(_drawn()), torch.get_rng_state()


def _drawn() -> Bundle:
    torch.manual_seed(0)
    config = EncoderConfig(
        model="vit_small_patch14_reg4_dinov2",
        image_size=(56, 84),
        layers=(0, 1, 2, 3),
        native_image_size=(56, 84),
        overrides={"embed_dim": 24, "depth": 4, "num_heads": 3},
    )
    encoder = Encoder(config)
    components = torch.linalg.qr(torch.randn(96, 30))[0].T.contiguous()
    pca = PCA.from_arrays(torch.zeros(96), torch.ones(96), torch.zeros(96), components)
    forecaster = MaskedForecaster(
        MaskedConfig(channels=30, grid=(4, 6), width=24, layers=2, heads=4)
    )
    torch.nn.init.normal_(forecaster.out.weight, std=0.2)
    tasks = {
        "segmentation": world_segmentation(),
        "depth": DepthTask(kind="metric", bins=16, min_m=1.0, max_m=80.0),
        "normals": NormalsTask(),
    }
    heads = {
        name: build_head(
            HeadConfig(outputs=task.outputs, channels=(8, 8, 8, 8), width=8), 24, layers=4
        )
        for name, task in tasks.items()
    }
    return Bundle("micro", encoder, pca, forecaster, heads, tasks, 0.2, trained=False)
