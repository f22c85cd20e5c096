"""The bundle that comes with the package: small, whole, and better than copying the last frame."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.synthetic import World, WorldConfig

HELD_OUT = (300_001, 300_002)
"""Seeds of worlds that nothing was trained, validated or scored on."""
STEPS = 3


@pytest.fixture(scope="module")
def folder(project_root: Path) -> Path:
    return project_root / "assets" / "tiny"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load("tiny")


def test_it_is_small_and_in_half_precision(folder: Path) -> None:
    files = sorted(folder.iterdir())
    assert {file.suffix for file in files} == {".safetensors", ".yaml", ".md"}
    assert sum(file.stat().st_size for file in files) <= 25e6
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            kinds = {tensors.get_slice(k).get_dtype() for k in tensors.keys()}  # noqa: SIM118
        assert "F16" in kinds, file.name


def test_it_says_where_it_comes_from(folder: Path, bundle: Bundle) -> None:
    assert bundle.trained
    assert set(bundle.heads) == {"segmentation", "depth", "normals", "instances"}
    assert bundle.tasks["depth"].kind == "metric"
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    parts = manifest["info"]["provenance"]
    assert {"encoder", "pca", "forecaster"} <= set(parts)
    assert all(isinstance(part["seed"], int) for kind, part in parts.items() if "head" in kind)
    text = (folder / "bundle.yaml").read_text() + (folder / "README.md").read_text()
    assert not re.search(r"[:'\"\s]/\w+/", text)  # a path of the machine it was trained on


@pytest.mark.slow
def test_it_forecasts_better_than_copying_on_worlds_it_never_saw(bundle: Bundle) -> None:
    count = bundle.context_frames + STEPS
    errors = np.zeros((2, STEPS))
    agreement = np.zeros((2, STEPS))
    for seed in HELD_OUT:
        world = World(WorldConfig(seed=seed, width=320, height=180))
        seen = [world.render(i * bundle.frame_interval_s) for i in range(count)]
        with torch.inference_mode():
            pixels = bundle.encoder.preprocess(np.stack([frame.image for frame in seen]))
            features = bundle.pca.transform(bundle.encoder(pixels))
            predicted = bundle.forecaster.rollout(features[None, : bundle.context_frames], STEPS)
            for step in range(STEPS):
                truth = seen[bundle.context_frames + step].segmentation
                pairs = (predicted[0, step], features[bundle.context_frames - 1])
                for row, guess in enumerate(pairs):
                    error = (guess - features[bundle.context_frames + step]).square().mean()
                    errors[row, step] += float(error)
                    classes = segment(bundle, guess, truth.shape)
                    agreement[row, step] += float((classes == truth).mean())
    assert (errors[0] < 0.9 * errors[1]).all(), errors
    assert (agreement[0] > agreement[1]).all(), agreement


def segment(bundle: Bundle, features: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Class of each pixel that the head sees in PCA features (h, w, C)."""
    raw = bundle.heads["segmentation"](bundle.pca.inverse(features)[None])
    sized = torch.nn.functional.interpolate(raw, size=size, mode="bilinear", align_corners=False)
    return sized[0].argmax(dim=0).numpy()
