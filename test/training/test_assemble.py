"""Whether a bundle that is put together says that random weights are in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.training.assemble import assemble
from dino_foresight_ros.training.model_parts import write_forecaster, write_pca


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A fitted PCA and a trained forecaster, and two bundles with the encoder that they share."""
    bundle = make_micro_bundle()
    write_pca(tmp_path / "pca", "pca", bundle.pca)
    write_forecaster(tmp_path / "run", "run", bundle.forecaster, frame_interval_s=0.2)
    for trained in (True, False):
        bundle.trained = trained
        bundle.save(tmp_path / str(trained))
    return tmp_path


@pytest.mark.parametrize(
    ("encoder", "forecaster", "trained"),
    [
        ("True", "run", True),
        ("False", "run", False),
        ("True", "False", False),
        ("True", "True", True),
    ],
)
def test_bundle_is_trained_where_its_encoder_and_its_forecaster_are(
    parts: Path, encoder: str, forecaster: str, trained: bool
):
    made = assemble(
        str(parts / encoder), str(parts / "pca"), str(parts / forecaster), {}, name="made"
    )
    assert made.trained is trained
    folder = made.save(parts / "made")
    assert Bundle.load(folder).trained is trained
    # Nor does what is made on its encoder forget it.
    again = assemble(str(folder), str(parts / "pca"), str(parts / "run"), {}, name="again")
    assert again.trained is trained
