"""What a bundle may be put together from, and whether it says that random weights are in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from micro_bundle import make_micro_bundle
from torch import nn

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import MaskedForecaster, SlidingForecaster
from dino_foresight_ros.training.assemble import assemble
from dino_foresight_ros.training.model_parts import load_forecaster, write_forecaster, write_pca


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


def _sliding(masked: MaskedForecaster) -> SlidingForecaster:
    height, width = masked.config.grid
    return SlidingForecaster(masked, (2 * height, 2 * width))


def _other_kind(masked: MaskedForecaster) -> nn.Module:
    class Other(nn.Module):
        kind = "other"

    return Other()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_sliding, "slides windows over a larger patch grid"),
        (_other_kind, "is of kind other; training reads those of kind masked"),
    ],
)
def test_forecaster_that_training_cannot_read_is_refused_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[MaskedForecaster], nn.Module], why: str
):
    bundle = make_micro_bundle()
    bundle.forecaster = make(bundle.forecaster)
    monkeypatch.setattr(Bundle, "load", lambda path: bundle)
    with pytest.raises(BundleError, match=why):
        load_forecaster("tiny")
