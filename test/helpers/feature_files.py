"""Stores of made-up features, written without an encoder."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from dino_foresight_ros.training.feature_store import (
    MANIFEST,
    RECORDING,
    StoreInfo,
    info_to_dict,
    shard_name,
)
from dino_foresight_ros.training.parts import Origin

GRID, CHANNELS = (3, 4), 6


def write_store(
    path: Path,
    *,
    seeds: range = range(6),
    frames: int = 12,
    interval_s: float = 0.1,
    pca: str = "fit",
    broken: range = range(0),
) -> Path:
    """Write a store of features that drift from frame to frame; those of `broken` frames are NaN.

    `pca` is its name, from which its fingerprint is made.
    """
    origins = Origin("dino", "e" * 16), Origin(pca, f"{sum(pca.encode()):016x}")
    info = StoreInfo("pca", *origins, GRID, CHANNELS, (42, 56), None, 64)
    path.mkdir(parents=True)
    (path / MANIFEST).write_text(yaml.safe_dump(info_to_dict(info)))
    for seed in seeds:
        folder = path / "recordings" / f"drive{seed}-{seed:08x}"
        folder.mkdir(parents=True)
        about = {"name": f"drive{seed}", "fingerprint": f"{seed:032x}", "shards": 1}
        (folder / RECORDING).write_text(yaml.safe_dump(about))
        generator = torch.Generator().manual_seed(seed)
        first = torch.randn(*GRID, CHANNELS, generator=generator)
        drift = torch.linspace(-0.5, 0.5, CHANNELS)
        features = torch.stack([first + i * drift for i in range(frames)]).half()
        for frame in broken:
            features[frame] = torch.nan
        stamps = (torch.arange(frames) * interval_s * 1e9).round().long()
        shard = {"features": features, "stamps_ns": stamps, "frames": torch.arange(frames)}
        save_file(shard, folder / shard_name(0))
    return path
