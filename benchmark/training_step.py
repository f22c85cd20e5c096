"""A training step from features on disk against the same step with the encoder in the loop.

    python -m dino_foresight_ros.benchmark.training_step --size tiny --steps 8

Both ways go through the product's own loop and read the same clips in the same order, in turns. The
baseline is what the published code does: it encodes all five frames of every clip in every step.
Its pictures come from memory, which costs less than decoding them: the ratio errs on its side.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.devices import resolve_device
from dino_foresight_ros.model.forecasters.masked import MaskedForecaster
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.recording import Frame
from dino_foresight_ros.training.data import ClipDataset
from dino_foresight_ros.training.feature_clips import FeatureClips, FeatureRecording
from dino_foresight_ros.training.feature_store import (
    MANIFEST,
    RECORDING,
    FeatureStore,
    StoreInfo,
    info_to_dict,
    shard_name,
)
from dino_foresight_ros.training.forecaster_objective import ForecasterObjective, ToFeatures
from dino_foresight_ros.training.loop import run_training
from dino_foresight_ros.training.parts import Origin
from dino_foresight_ros.training.processes import alone
from dino_foresight_ros.training.recipes import TrainingRecipe
from dino_foresight_ros.training.run_log import read_history
from dino_foresight_ros.training.sampling import Epochs

from .measure import Timing, machine
from .sizes import SIZES, build

CONTEXT, INTERVAL_S, FRAMES = 4, 0.2, 16


class NoiseRecording(Recording):
    """Noise in memory; the work does not depend on what pictures show."""

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        stamps = np.round(np.arange(FRAMES) * INTERVAL_S * 1e9).astype(np.int64)
        super().__init__("noise", stamps, size)
        self.images = np.random.default_rng(seed).integers(0, 256, (FRAMES, *size, 3), np.uint8)

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        return Frame(int(self.stamps_ns[index]), image=self.images[index], index=index)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield "noise"


@dataclass(frozen=True)
class Way:
    """One way of training.

    Attributes:
        step: wall time of a step, waiting for data included.
        wait_percent: share of the steps' time spent waiting for data; the worst turn.
        loss: of the last step, to see that both ways did the same.
    """

    step: Timing
    wait_percent: float
    loss: float


def write_store(bundle: Bundle, recording: NoiseRecording, folder: Path) -> FeatureStore:
    """Encode the pictures once and keep PCA features as `foresight train features` does."""
    encoder, grid = bundle.encoder, bundle.grid
    with torch.inference_mode():
        features = [
            bundle.pca.transform(encoder(encoder.preprocess(image[None]))).half()
            for image in recording.images
        ]
    channels = features[0].shape[-1]
    origin = Origin(bundle.name, "0" * 16)
    info = StoreInfo("pca", origin, origin, grid, channels, recording.size, None, FRAMES)
    place = folder / "recordings" / recording.name
    place.mkdir(parents=True)
    (folder / MANIFEST).write_text(yaml.safe_dump(info_to_dict(info)))
    about = {"name": recording.name, "fingerprint": "0" * 32, "shards": 1}
    (place / RECORDING).write_text(yaml.safe_dump(about))
    shard = {
        "features": torch.cat(features),
        "stamps_ns": torch.from_numpy(recording.stamps_ns),
        "frames": torch.arange(FRAMES),
    }
    save_file(shard, place / shard_name(0))
    return FeatureStore.open(folder)


def run_turn(
    clips: ClipDataset,
    to_features: ToFeatures,
    bundle: Bundle,
    recipe: TrainingRecipe,
    device: torch.device,
    folder: Path,
) -> tuple[list[float], float, float]:
    """Train a copy of the forecaster; return seconds per step, wait share, last loss."""
    assert isinstance(bundle.forecaster, MaskedForecaster)
    model = MaskedForecaster(bundle.forecaster.config)
    model.load_state_dict(bundle.forecaster.state_dict())
    objective = ForecasterObjective(model, to_features)
    samples = Epochs(clips, recipe.seed)
    fabric = alone(device, recipe.precision)
    result = run_training(objective, samples, recipe, folder, fabric, name=folder.name)
    # The first step allocates and compiles.
    seconds = [row["step_s"] for row in read_history(folder, "train")][1:]
    return seconds, result.wait_fraction, result.loss


def measure(
    size: str, steps: int = 8, turns: int = 2, batch_size: int = 8, device: str = "cpu",
    precision: str = "float32", workers: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Measure both ways, in turns.

    Returns:
        "machine", "case", "cached" and "encoder in the loop" (`Way`), and "ratio" of their medians.
    """
    bundle, where = build(size), resolve_device(device)
    recording = NoiseRecording(bundle.image_size)
    recipe = TrainingRecipe(
        steps=steps + 1,
        lr=1e-4,
        precision=precision,
        batch_size=batch_size,
        workers=workers,
        log_every=1,
    )
    found: dict[str, list[tuple[list[float], float, float]]] = {"cached": [], "encoder": []}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        store = write_store(bundle, recording, root / "store")
        stored = [FeatureRecording(one, store.info.grid) for one in store.recordings]
        ways = {
            "cached": (FeatureClips(stored, (INTERVAL_S,), CONTEXT, 1), ToFeatures()),
            "encoder": (
                ClipDataset([recording], (INTERVAL_S,), CONTEXT, 1, bundle.image_size),
                ToFeatures(bundle.pca, bundle.encoder),
            ),
        }
        for turn in range(turns):
            for name, (clips, to_features) in ways.items():
                folder = root / f"{name} {turn}"
                found[name].append(run_turn(clips, to_features, bundle, recipe, where, folder))
    results = {name: _way(turn_results) for name, turn_results in found.items()}
    case = {
        "size": size, "batch_size": batch_size, "precision": precision, "workers": workers,
        "steps": steps * turns,
    }  # fmt: skip
    ratio = results["encoder"].step.p50_ms / results["cached"].step.p50_ms
    ways_found = {name: asdict(way) for name, way in results.items()}
    return {"machine": machine(where), "case": case, **ways_found, "ratio": ratio}


def _way(turns: list[tuple[list[float], float, float]]) -> Way:
    seconds = [second for turn in turns for second in turn[0]]
    return Way(Timing.of(seconds), 100 * max(turn[1] for turn in turns), turns[-1][2])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="tiny", choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=8, help="per turn (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    found = measure(
        args.size, args.steps, args.turns, args.batch_size, args.device, args.precision,
        args.workers,
    )  # fmt: skip
    for name, title in (("cached", "features from disk"), ("encoder", "encoder in the loop")):
        way = found[name]
        print(
            f"{title:<20} {way['step']['p50_ms']:8.0f} ms per step (p99 "
            f"{way['step']['p99_ms']:.0f}), {way['wait_percent']:.1f} % waiting for data, "
            f"last loss {way['loss']:.5f}"
        )
    print(f"{'ratio':<20} {found['ratio']:8.2f} x")
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
