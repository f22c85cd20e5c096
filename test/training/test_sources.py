"""Parts say what they were trained on, through a bundle and back, and evaluation names overlaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from micro_bundle import make_micro_bundle
from training_data import PaintedDrive

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.assemble import assemble
from dino_foresight_ros.training.evaluation import EvaluationConfig, evaluate
from dino_foresight_ros.training.model_parts import (
    load_forecaster,
    load_pca,
    write_forecaster,
    write_pca,
)
from dino_foresight_ros.training.parts import MANIFEST, read_part, write_part
from dino_foresight_ros.training.sources import (
    Source,
    bundle_sources,
    overlap_notes,
    overlaps,
    sources_of,
)

SPEC = "synthetic:?seeds={seeds}&frames=40&size=20x30"


def worlds(seeds: str, part: str = "") -> list[Any]:
    return open_recordings([SPEC.format(seeds=seeds) + part])


def test_a_part_keeps_what_it_was_trained_on(tmp_path: Path) -> None:
    sources = sources_of(worlds("0-2", "&part=0-0.5"))
    assert [one.name for one in sources] == [f"synthetic-{i}@0-0.5" for i in range(3)]
    assert {(one.begin_ns, one.end_ns) for one in sources} == {(0, 1_900_000_000)}
    write_part(tmp_path, "pca", "p", {}, {"x": torch.ones(2)}, trained_on=sources)
    assert read_part(tmp_path, "pca")[0].trained_on == sources


def test_parts_of_before_and_damaged_lines(tmp_path: Path) -> None:
    write_part(tmp_path, "pca", "p", {}, {"x": torch.ones(2)})
    manifest = tmp_path / MANIFEST
    text = manifest.read_text()
    manifest.write_text(text.replace("trained_on: []\n", ""))
    assert read_part(tmp_path, "pca")[0].trained_on == ()
    manifest.write_text(text.replace("trained_on: []", "trained_on: ['[1, 2]']"))
    with pytest.raises(BundleError, match="damaged"):
        read_part(tmp_path, "pca")


@pytest.mark.slow
def test_bundles_carry_it_and_parts_taken_from_them_have_it(tmp_path: Path) -> None:
    micro = make_micro_bundle()
    micro.trained = True
    micro.save(tmp_path / "micro")
    seen, fitted = sources_of(worlds("0-1")), sources_of(worlds("5"))
    write_pca(tmp_path / "pca", "pca", micro.pca, trained_on=fitted)
    write_forecaster(
        tmp_path / "run", "run", micro.forecaster, frame_interval_s=0.2, trained_on=seen
    )
    made = assemble(
        str(tmp_path / "micro"), str(tmp_path / "pca"), str(tmp_path / "run"), {}, name="made"
    )
    folder = made.save(tmp_path / "made")
    assert bundle_sources(Bundle.load(folder).info) == {"pca": fitted, "forecaster": seen}
    assert load_pca(folder)[1].trained_on == fitted
    assert load_forecaster(folder)[1].trained_on == seen
    # A run that starts from it was trained on both.
    assert sources_of(worlds("7"), seen) == (*seen, *sources_of(worlds("7")))


def test_same_moments_are_found_under_other_names_sizes_and_cameras() -> None:
    trained = {"forecaster": sources_of(worlds("3", "&part=0-0.5"))}
    (later,) = worlds("3", "&part=0.5-1")
    assert overlaps(trained, [later]) == []
    (whole,) = open_recordings(["synthetic:?seeds=3&frames=20&interval=0.2&size=40x60"])
    (found,) = overlaps(trained, [whole])
    assert found == ("forecaster", "synthetic-3@0-0.5", "synthetic-3", pytest.approx(1.9))
    of_other_camera = {"pca": [Source("front", "a", "painted 0", 0, 10)]}
    found = overlaps(of_other_camera, [PaintedDrive(0, 20, (40, 60))])
    assert [one.part for one in found] == ["pca"]


def test_notes_name_what_is_too_good_and_what_is_silent() -> None:
    lines = "\n".join(one.to_line() for one in sources_of(worlds("0-2")))
    info = {
        "trained_on": {"forecaster": lines},
        "provenance": {"forecaster": {"recipe": {"steps": 1}}, "pca": {"recipe": {"channels": 8}}},
    }
    first, second = overlap_notes(info, worlds("2-3"))
    assert first.startswith(
        "the forecaster was trained on what is scored here: 1 of 2 recordings overlap, such as "
        "synthetic-2 with synthetic-2 (3.9 s)"
    )
    assert "does not record what its pca was trained on" in second
    assert overlap_notes({}, worlds("2-3")) == []


def test_thousands_of_recordings_stay_small(tmp_path: Path) -> None:
    """All of Cityscapes' snippets: one scalar a recording, not a structure."""
    many = tuple(Source(f"city_{i:06d}", "0" * 32, f"cityscapes {i}", 0, i) for i in range(2975))
    write_part(tmp_path, "pca", "p", {}, {"x": torch.ones(2)}, trained_on=many)
    assert read_part(tmp_path, "pca")[0].trained_on == many
    assert (tmp_path / MANIFEST).stat().st_size < 110 * len(many)


@pytest.mark.slow
def test_evaluation_says_so() -> None:
    bundle, recordings = make_micro_bundle(), worlds("0")
    bundle.info = {"trained_on": {"forecaster": sources_of(recordings)[0].to_line()}}
    warned: list[str] = []
    config = EvaluationConfig(
        horizons=(1,), gaps_s=(), max_clips=2, fitted=False, labels=False, resamples=10
    )
    report = evaluate(bundle, recordings, config, on_warning=warned.append)
    (note,) = [one for one in report.notes if "was trained on what is scored here" in one]
    assert note in warned
