from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from training_data import keep_painted, write_micro_bundle

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.compare import read_comparison, run_comparison
from dino_foresight_ros.training.evaluation import EvaluationConfig, evaluate
from dino_foresight_ros.training.model_parts import load_pca

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # more only wait for one another: the work is tiny


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a micro encoder, and seven short drives."""
    folder = tmp_path_factory.mktemp("world")
    write_micro_bundle(folder / "micro")
    keep_painted(folder / "train", range(5), 7)
    keep_painted(folder / "test", (7, 8), 8)
    return folder


def write(world: Path, path: Path, **changes: object) -> Path:
    values = {
        "data": {"train": f"pixels:{world / 'train'}", "test": f"pixels:{world / 'test'}"},
        "encoder": {"name": str(world / "micro")},
        "pca": {"channels": 12},
        "forecaster": {
            "preset": "tiny-cpu", "width": 12, "heads": 2, "layers": 1, "steps": 2,
            "batch_size": 2, "intervals_s": [0.1], "frame_interval_s": 0.1, "evaluations": 1,
            "validation_clips": 1,
        },
        "heads": {
            "tasks": ["segmentation"], "preset": "linear", "steps": 2, "batch_size": 2,
            "evaluations": 1,
        },
        "evaluation": {"horizons": [1, 3], "max_clips": 2},
        "seeds": [0, 1],
        "axes": {"pca.channels": [12, 5]},
    }  # fmt: skip
    path.write_text(yaml.safe_dump({**values, **changes}))
    return path


@pytest.fixture(scope="module")
def done(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a comparison of two PCA sizes with two seeds was made."""
    out = tmp_path_factory.mktemp("compared") / "out"
    file = write(world, out.parent / "sizes.yaml")
    assert main(["compare", str(file), "--device", "cpu", "--out", str(out)]) == 0
    return out


def rows(out: Path, name: str = "sizes") -> list[dict[str, str]]:
    with (out / name / "comparison.csv").open() as file:
        return list(csv.DictReader(file))


def kept_files(out: Path) -> dict[str, int]:
    files = (out / "stages").rglob("*")
    return {str(p): p.stat().st_mtime_ns for p in files if p.is_file() and p.name != ".lock"}


def test_every_run_is_measured_and_set_apart(done: Path) -> None:
    table = rows(done)
    scored = {(row["pca.channels"], row["score"], row["steps"]) for row in table}
    assert scored >= {(c, s, k) for c in ("12", "5") for s in ("skill", "miou") for k in ("1", "3")}
    assert {(row["pca.channels"], row["channels"]) for row in table} == {("12", "12"), ("5", "5")}
    of = {(row["pca.channels"], row["score"], row["steps"]): row for row in table}
    for (channels, score, steps), row in of.items():
        if channels == "12":
            assert row["difference"] == ""
            continue
        apart = float(row["value"]) - float(of["12", score, steps]["value"])
        assert float(row["difference"]) == pytest.approx(apart, abs=2e-4)
        seeds = [float(row[f"difference_seed_{seed}"]) for seed in (0, 1)]
        assert np.mean(seeds) == pytest.approx(apart, abs=2e-4)
        assert seeds[0] != seeds[1] or score == "moving_miou"
    page = (done / "sizes" / "comparison.md").read_text()
    assert "| **pca.channels 12** |" in page
    assert (done / "sizes" / "comparison.png").stat().st_size > 10_000


def test_what_variants_share_is_made_once(done: Path) -> None:
    kinds = [path.name.rpartition("-")[0] for path in (done / "stages").iterdir() if path.is_dir()]
    # A PCA and features per size; the rest per size and seed.
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "pca": 2, "features": 2, "forecaster": 4, "head_segmentation": 4, "scores": 4,
    }  # fmt: skip


def test_complete_runs_are_not_repeated(world: Path, done: Path, tmp_path: Path) -> None:
    before = kept_files(done)
    said: list[str] = []
    run_comparison(read_comparison(str(done.parent / "sizes.yaml")), done, "cpu", said.append)
    assert kept_files(done) == before
    stages = [line for line in said if not line.startswith("run ")]
    assert stages
    assert all(line.endswith(": unchanged, kept") for line in stages)
    # Nor are those that another comparison in the same folder needs too.
    other = write(world, tmp_path / "loss.yaml", axes={"forecaster.loss": ["smooth_l1", "mse"]})
    said.clear()
    run_comparison(read_comparison(str(other)), done, "cpu", said.append)
    new = [line.rpartition("-")[0] for line in said if line.endswith(": starting")]
    assert sorted(new) == ["forecaster", "forecaster", "scores", "scores"]


def test_run_that_is_cut_off_is_gone_on_with(
    world: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    file = write(world, tmp_path / "sizes.yaml", axes={"pca.channels": [12]}, seeds=[0])
    comparison = read_comparison(str(file))
    with monkeypatch.context() as cut:
        cut.setattr(
            "dino_foresight_ros.training.compare.runs.run_head",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            run_comparison(comparison, out, "cpu")
    before = kept_files(out)
    runs = run_comparison(comparison, out, "cpu")
    assert before.items() <= {**kept_files(out), **_record(out, before)}.items()
    assert [run.scores for run in runs] == [scores(done, "12", 0)]


def _record(out: Path, before: dict[str, int]) -> dict[str, int]:
    """The record of stages, which alone may change."""
    return {path: before[path] for path in before if path.endswith("stages.json")}


def scores(out: Path, channels: str, seed: int) -> object:
    comparison = read_comparison(str(out.parent / "sizes.yaml"))
    runs = run_comparison(comparison, out, "cpu")
    return next(
        run.scores
        for run in runs
        if (run.variant.chosen["pca.channels"], run.seed) == (channels, seed)
    )


def test_scores_are_those_of_the_evaluation(done: Path, world: Path) -> None:
    from dino_foresight_ros.training.assemble import assemble

    stages = done / "stages"
    for path in sorted(stages.glob("scores-*/scores.json")):
        kept = json.loads(path.read_text())
        assert set(kept["scenes"]) == {r.name for r in open_recordings([f"pixels:{world}/test"])}
    forecaster = next(
        folder
        for folder in sorted(stages.glob("forecaster-*"))
        if yaml.safe_load((folder / "config.yaml").read_text())["model"]["channels"] == 5
    )
    pca = next(f for f in sorted(stages.glob("pca-*")) if load_pca(f)[0].channels == 5)
    bundle = assemble(str(world / "micro"), str(pca), str(forecaster), {}, name="five")
    config = EvaluationConfig(horizons=(1, 3), gaps_s=(), max_clips=2, fitted=False)
    scene = open_recordings([f"pixels:{world / 'test'}"])[0]
    report = evaluate(bundle, [scene], config)
    gains = [result.rows["forecast"].improvements["mse"] for result in report.features]
    found = [
        json.loads(path.read_text())["scenes"][scene.name]["forecast"]
        for path in stages.glob("scores-*/scores.json")
    ]
    assert gains[0] is not None
    assert any(one["skill_1"] == pytest.approx(gains[0].percent, rel=1e-9) for one in found)


def test_scenes_that_are_trained_on_are_not_scored(world: Path, tmp_path: Path) -> None:
    same = f"pixels:{world / 'train'}"
    file = write(world, tmp_path / "same.yaml", data={"train": same, "test": same})
    with pytest.raises(InputError, match="trained on and scored on"):
        run_comparison(read_comparison(str(file)), tmp_path / "out", "cpu")
    assert not list((tmp_path / "out" / "stages").glob("pca*"))


def test_ways_to_a_larger_grid_and_kinds_of_targets(world: Path, tmp_path: Path) -> None:
    small = {"encoder.image_size": "28x42"}
    ways = {
        "two stages": {"start": small},
        "stretched": {"start": small, "bundle.resize_grid": True},
        "windows": {"forecaster.feature_crop": [2, 3], "bundle.slide_windows": True},
        "codes": {"forecaster.predict": "codes", "forecaster.codes": 4},
    }
    encoder = {"name": str(world / "micro"), "image_size": "56x84"}
    changes = {"encoder": encoder, "axes": {"way": ways}, "seeds": [0], "heads": {}}
    file = write(world, tmp_path / "ways.yaml", **changes)
    runs = run_comparison(read_comparison(str(file)), tmp_path / "out", "cpu")
    assert [run.variant.chosen["way"] for run in runs] == sorted(ways)  # as YAML was written
    assert all(len(run.scores) == 2 for run in runs)  # of both drives
    made = (tmp_path / "out" / "stages").glob("forecaster-*/config.yaml")
    configs = [yaml.safe_load(path.read_text()) for path in made]
    # The small grid's is trained once for both; windows have its size.
    assert sorted(config["model"]["grid"] for config in configs) == [[2, 3], [2, 3], [4, 6], [4, 6]]
    (second,) = [config for config in configs if config["inputs"]["start"]]
    assert second["model"]["grid"] == [4, 6]
