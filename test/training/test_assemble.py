"""What a bundle may be put together from, and whether it says that random weights are in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from micro_bundle import make_micro_bundle
from torch import nn

from dino_foresight_ros.errors import BundleError, UsageError
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
    monkeypatch.setattr(Bundle, "load", lambda *_, **__: bundle)
    with pytest.raises(BundleError, match=why):
        load_forecaster("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["resize_grid", "slide_windows"])
def test_forecaster_of_a_small_grid_runs_at_a_larger_image(parts: Path, way: str):
    before, _ = load_forecaster(parts / "run")
    small = Bundle.load(str(parts / "True"))
    height, width = small.image_size
    size, grid = (2 * height, 2 * width), tuple(2 * side for side in small.grid)
    arguments = str(parts / "True"), str(parts / "pca"), str(parts / "run"), {}
    with pytest.raises(BundleError, match="add --resize-grid or --slide-windows"):
        assemble(*arguments, name="large", image_size=size)
    made = assemble(*arguments, name="large", image_size=size, **{way: True})
    bundle = Bundle.load(made.save(parts / "large"))
    assert bundle.grid == grid
    context = torch.randn(1, bundle.context_frames, *grid, bundle.pca.channels)
    with torch.no_grad():
        found = bundle.forecaster(context)
        if way == "resize_grid":
            expected = copy.deepcopy(before).resize_grid(*grid)(context)
        else:
            h, w = small.grid
            rows = [
                torch.cat([before(context[:, :, r : r + h, c : c + w]) for c in (0, w)], dim=2)
                for r in (0, h)
            ]
            expected = torch.cat(rows, dim=1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"resize_grid": True, "slide_windows": True}, "two ways"),
        ({"resize_grid": True}, "give --image-size"),
        ({"window_stride": (1, 1)}, "--window-stride is for --slide-windows"),
        ({"hindcast": True}, "--hindcast is for kind world; the forecaster is masked"),
    ],
)
def test_ways_to_a_larger_grid_that_make_no_sense_are_refused(
    parts: Path, options: dict[str, Any], why: str
):
    with pytest.raises(UsageError, match=why):
        assemble(str(parts / "True"), None, str(parts / "run"), {}, name="x", **options)


@pytest.mark.slow
def test_parts_of_a_bundle_are_taken_with_their_provenance(parts: Path):
    bundle = make_micro_bundle()
    bundle.trained = True
    made = {"seed": 7, "code_version": "0.0+x", "scores": {"labels": "lidar"}, "recipe": {"lr": 1}}
    bundle.info = {"provenance": dict.fromkeys(("pca", "forecaster", "depth head"), made)}
    source = str(bundle.save(parts / "source"))
    arguments = source, source, source
    found = assemble(*arguments, {"depth": source}, name="made")
    assert found.trained
    assert set(found.heads) == {"depth"}
    assert found.tasks["depth"] == bundle.tasks["depth"]
    for name, weight in bundle.heads["depth"].state_dict().items():
        torch.testing.assert_close(found.heads["depth"].state_dict()[name], weight)
    names = {"pca": "PCA", "forecaster": "forecaster", "depth head": "depth head"}
    for part, name in names.items():
        kept = found.info["provenance"][part]
        assert kept["name"] == f"{name} of micro"
        assert {name: kept[name] for name in ("seed", "code_version", "scores")} == {
            name: made[name] for name in ("seed", "code_version", "scores")
        }
        assert kept["recipe"] == {"lr": 1, "bundle": "micro", "trained": True}
    assert found.info["pseudo_labels"] == {"depth": "lidar"}
    # Random weights in a head make an untrained bundle, too.
    random = str(parts / "False")
    assert not assemble(*arguments, {"depth": random}, name="made").trained


@pytest.mark.slow
def test_head_of_a_bundle_that_does_not_fit_is_refused(parts: Path):
    bundle = make_micro_bundle()
    del bundle.heads["normals"], bundle.tasks["normals"]
    source = str(bundle.save(parts / "source"))
    with pytest.raises(BundleError, match="micro has no head for normals; its heads: segm"):
        assemble(source, source, source, {"normals": source}, name="made")
    bundle.pca.mean += 1.0
    other = str(bundle.save(parts / "other"))
    with pytest.raises(BundleError, match="'depth head of micro' was made with the pca"):
        assemble(source, source, source, {"depth": other}, name="made")
