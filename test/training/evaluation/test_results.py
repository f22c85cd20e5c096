"""What a report says of random weights, by where a bundle's parts come from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.cli.evaluate import summary
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.training.assemble import assemble
from dino_foresight_ros.training.evaluation.results import bundle_facts
from dino_foresight_ros.training.model_parts import write_forecaster, write_pca

NOTHING = "made is UNTRAINED: these numbers mean nothing."
ENCODER = (
    "made is trained on an UNTRAINED ENCODER: these numbers say how well the features of random "
    "weights can be forecast, nothing about a real model."
)


def said(bundle: Bundle) -> list[str]:
    """What `foresight evaluate` prints below its numbers."""
    facts = bundle_facts(bundle)
    return summary(SimpleNamespace(features=[], lidar=None, data=(), protocol=None, bundle=facts))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PCA, a forecaster that was trained, and bundles of random and of trained weights."""
    folder = tmp_path_factory.mktemp("parts")
    bundle = make_micro_bundle()
    write_pca(folder / "pca", "pca", bundle.pca)
    recipe = {"steps": 100}
    write_forecaster(folder / "run", "run", bundle.forecaster, frame_interval_s=0.2, recipe=recipe)
    for name, trained in (("random", False), ("trained", True)):
        bundle.trained = trained
        bundle.save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("encoder", "forecaster", "expected"),
    [
        ("trained", "run", []),
        ("trained", "trained", []),
        ("random", "run", [ENCODER]),
        ("random", "random", [NOTHING]),
        ("trained", "random", [NOTHING]),
    ],
)
def test_words_are_as_strong_as_the_parts_ask_for(
    parts: Path, tmp_path: Path, encoder: str, forecaster: str, expected: list[str]
) -> None:
    made = assemble(
        str(parts / encoder), str(parts / "pca"), str(parts / forecaster), {}, name="made"
    )
    assert said(made) == expected
    assert said(Bundle.load(made.save(tmp_path / "made"))) == expected


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"provenance": "lost"},
        {"provenance": {"forecaster": None}},
        {"provenance": {"forecaster": {"recipe": None}}},
        {"provenance": {"encoder": {"recipe": {"steps": 9}}}},
    ],
)
def test_without_a_word_on_the_forecaster_nothing_is_believed(info: dict[str, Any]) -> None:
    bundle = make_micro_bundle()
    bundle.name, bundle.info = "made", info
    assert said(bundle) == [NOTHING]
