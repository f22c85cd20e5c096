"""Models and numbers of the paper's authors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.reference.conversion import convert_reference


@pytest.fixture(scope="session")
def golden(golden_dir: Path) -> dict[str, Tensor]:
    return load_file(str(golden_dir / "golden.safetensors"))


@pytest.fixture(scope="session")
def convert_golden(golden_dir: Path) -> Callable[..., Bundle]:
    def convert(forecaster: str = "dinof_tiny.ckpt", **changes: object) -> Bundle:
        arguments: dict[str, object] = {
            "forecaster": golden_dir / forecaster,
            "pca": golden_dir / "dinov2_pca_tiny.pth",
            "encoder": golden_dir / "encoder_weights.safetensors",
            "heads": {
                "segmentation": golden_dir / "head_segm_pca_tiny.ckpt",
                "depth": golden_dir / "head_depth_pca_tiny.ckpt",
                "normals": golden_dir / "head_normals_pca_tiny.ckpt",
            },
            "encoder_heads": 3,
        }
        return convert_reference(**(arguments | changes))

    return convert


@pytest.fixture(scope="session")
def reference_bundle(
    convert_golden: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The authors' tiny model, converted, written and read back."""
    folder = tmp_path_factory.mktemp("bundle") / "reference"
    convert_golden().save(folder)
    return Bundle.load(folder)
