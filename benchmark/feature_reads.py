"""How fast clips are read out of a feature store, at random.

Run: python -m dino_foresight_ros.benchmark.feature_reads

The store has the paper's shape (16 x 32 patches, 1152 channels, float16: 1.18 MB a frame) and
random numbers. Clips of five frames lie anywhere in it. "cold" is after its pages were given back
to the system, "warm" is from the page cache; beside them a copy of as many bytes in memory.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dino_foresight_ros.process.cpu import set_up_cpu

GRID, CHANNELS, SHARD, CLIP = (16, 32), 1152, 56, 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How fast clips are read, at random.")
    parser.add_argument("--frames", type=int, default=448)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="disk to measure (default: the temporary one)")
    args = parser.parse_args()
    set_up_cpu()
    import numpy as np

    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        store = _write(Path(name), args.frames)
        stored = store.recordings[0]
        rng = np.random.default_rng(0)
        starts = rng.integers(0, args.frames - 3 * CLIP, args.clips)
        clips = [start + 3 * np.arange(CLIP) for start in starts]
        source = np.zeros((CLIP, *GRID, CHANNELS), np.float16)
        for path in Path(name).rglob("*.safetensors"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        cold = _median_ms([lambda clip=clip: stored.read(clip) for clip in clips])  # type: ignore[misc]
        warm = _median_ms([lambda clip=clip: stored.read(clip) for clip in clips])  # type: ignore[misc]
        copy = _median_ms([source.copy for _ in clips])
    size = source.nbytes / 1e6
    print(
        f"clips of {CLIP} frames ({size:.1f} MB), median of {args.clips}: cold {cold:.1f} ms, warm "
        f"{warm:.1f} ms ({size / warm:.1f} GB/s), a copy in memory {copy:.1f} ms"
    )


def _median_ms(calls: list[Callable[[], object]]) -> float:
    times = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def _write(folder: Path, frames: int):  # type: ignore[no-untyped-def]
    import torch
    import yaml

    from dino_foresight_ros.training.feature_store import (
        MANIFEST,
        RECORDING,
        FeatureStore,
        StoreInfo,
        info_to_dict,
        shard_name,
    )
    from dino_foresight_ros.training.feature_writer import write_shard
    from dino_foresight_ros.training.parts import Origin

    origin = Origin("none", "0" * 16)
    info = StoreInfo("pca", origin, origin, GRID, CHANNELS, (224, 448), None, SHARD)
    recording = folder / "recordings" / "drive"
    recording.mkdir(parents=True)
    (folder / MANIFEST).write_text(yaml.safe_dump(info_to_dict(info)))
    about = {"name": "drive", "fingerprint": "0", "shards": -(-frames // SHARD)}
    (recording / RECORDING).write_text(yaml.safe_dump(about))
    for number, start in enumerate(range(0, frames, SHARD)):
        numbers = torch.arange(start, min(start + SHARD, frames))
        tensors = {
            "features": torch.randn(len(numbers), *GRID, CHANNELS).half(),
            "frames": numbers,
            "stamps_ns": numbers * 100_000_000,
        }
        write_shard(recording / shard_name(number), tensors)
    return FeatureStore.open(folder)


if __name__ == "__main__":
    main()
