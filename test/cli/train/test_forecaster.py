"""`foresight train forecaster`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from feature_files import write_store

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.training.train_forecaster import plan_forecaster

SMALL = (
    "--preset", "tiny-cpu", "--width", "24", "--layers", "1", "--heads", "2", "--batch-size", "4",
    "--log-every", "1", "--evaluations", "2", "--precision", "float32", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("features") / "store")


def train(out: Path, *words: object) -> int:
    return main(["train", "forecaster", "--out", str(out), *map(str, words)])


def losses(run: Path) -> list[float]:
    rows = map(json.loads, (run / "history.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["kind"] == "train"]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("foresight: ")
    return lines[-1]


@pytest.mark.slow
def test_a_run_can_be_finished_later_by_naming_its_folder_alone(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert train(whole, "--features", store, *SMALL, "--steps", 8, "--schedule", "constant") == 0
    first = ("--features", store, *SMALL, "--steps", 4, "--schedule", "constant")
    assert train(halves, *first) == 0
    assert train(halves, "--resume", "--steps", 8, "--device", "cpu") == 0

    # 2 % of the budget of 4 steps are not 5 % of 8: only the warm-up of the first step is left out.
    assert losses(halves)[:1] == losses(whole)[:1]
    assert len(losses(halves)) == len(losses(whole)) == 8
    config = yaml.safe_load((halves / "config.yaml").read_text())
    assert config["inputs"]["features"] == str(store)
    assert (config["recipe"]["steps"], config["recipe"]["seed"]) == (8, 0)
    assert config["recipe"]["intervals_s"] == pytest.approx([0.1, 0.2])
    assert config["code_version"]
    assert (halves / "part.yaml").is_file()
    assert list((halves / "tensorboard").iterdir())
    assert "8 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_an_existing_run_is_neither_overwritten_nor_gone_on_with_unasked(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(run, "--features", store, *SMALL, "--steps", 2) == 0
    before = (run / "last.safetensors").read_bytes()

    assert train(run, "--features", store, *SMALL, "--steps", 2) == 1
    assert "holds a run; go on with --resume" in error_of(capsys)
    assert train(run, "--resume", "--lr", "1") == 2
    assert "started with lr 0.002, not 1.0" in error_of(capsys)
    assert train(run, "--resume", "--preset", "small") == 2
    assert "the run was started with batch_size 4, not 16" in error_of(capsys)
    assert train(tmp_path / "none", "--resume") == 1
    assert "no run to go on with" in error_of(capsys)
    assert (run / "last.safetensors").read_bytes() == before


def test_the_store_that_is_trained_on_is_refused_as_validation(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train(run, "--features", store, "--validation", store, *SMALL, "--steps", 2) == 1
    assert "of its frames would be trained on and validated on" in error_of(capsys)
    assert not run.exists()


def parts_store(path: Path, **spans_s: tuple[float, float]) -> Path:
    """A store of parts of one drive, by their first and last second."""
    write_store(path, seeds=range(len(spans_s)))
    folders = sorted(path.glob("recordings/*/recording.yaml"))
    for manifest, (name, span_s) in zip(folders, spans_s.items(), strict=True):
        about = yaml.safe_load(manifest.read_text())
        about |= {"name": name, "fingerprint": name, "whole": "drive"}
        about["span_ns"] = [round(second * 1e9) for second in span_s]
        manifest.write_text(yaml.safe_dump(about))
    return path


@pytest.mark.parametrize(
    ("spans_s", "message"),
    [
        ({"c": (2.0, 3.0)}, None),
        ({"c": (0.8, 1.5)}, "a in {train} and c in {validation} share 0.2 s of one recording:"),
        ({"c": (0.4, 0.6)}, "a in {train} and c in {validation} share 0.2 s of one recording:"),
        ({"c": (4.9, 6.0)}, "b in {train} and c in {validation} share 0.1 s of one recording:"),
        ({"c": (0.0, 9.0), "d": (5.0, 6.0)}, "share 1.0 s of one recording, and 2 more such pairs"),
    ],
)
def test_a_store_that_shows_what_is_trained_on_is_refused_as_validation(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spans_s: dict[str, tuple[float, float]],
    message: str | None,
) -> None:
    first = parts_store(tmp_path / "train", a=(0.0, 1.0), b=(4.0, 5.0))
    second = parts_store(tmp_path / "validation", **spans_s)
    run = tmp_path / "run"
    code = train(run, "--features", first, "--validation", second, *SMALL, "--steps", 1)
    if message is None:
        assert code == 0
        return
    assert code == 1
    assert message.format(train=first, validation=second) in error_of(capsys)
    assert not run.exists()


@pytest.mark.slow
def test_stores_of_different_pcas_are_refused_with_both_names(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_store(tmp_path / "other", pca="another fit")
    run = tmp_path / "run"

    assert train(run, "--features", store, "--validation", other, *SMALL, "--steps", 2) == 1
    message = error_of(capsys)
    assert "'fit'" in message
    assert "'another fit'" in message
    assert not run.exists()
    assert train(run, "--features", store, *SMALL, "--steps", 2) == 0
    assert train(run, "--resume", "--features", other) == 2
    assert "features" in error_of(capsys)


def test_nan_features_are_named_and_stop_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write_store(tmp_path / "broken", broken=range(12))
    good = write_store(tmp_path / "good", seeds=range(50, 52))
    run = tmp_path / "run"

    assert train(run, "--features", broken, "--validation", good, *SMALL, "--steps", 9) == 1
    message = error_of(capsys)
    assert "not finite 3 times in a row, in steps 1 to 3" in message
    assert "drive" in message
    assert "(holds NaN or infinity)" in message
    assert "good weights of step 0" in message


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "give --features STORE, or --data"),
        (["--data", "x.mp4"], 2, "--pixel-augmentation"),
        (["--data", "x.mp4", "--pixel-augmentation"], 2, "--data needs --encoder"),
        (["--features", "x", "--encoder", "e"], 2, "--encoder is for --data"),
        (["--features", "x", "--crop-scale", "0.5"], 2, "--crop-scale is for --data"),
        (["--features", "x", "--preset", "paper-lowres"], 2, "a preset without, such as stored-l"),
        (["--features", "x", "--steps", "many"], 2, "steps is 'many'"),
        (["--features", "x", "--steps", "0"], 2, "steps is 0"),
        (["--features", "x", "--preset", "huge"], 2, "preset 'huge' is unknown; valid:"),
        (["--features", "x", "--processes", "0"], 2, "--processes is 0"),
        (["--features", "/nowhere", "--preset", "small"], 1, "/nowhere holds no features"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str
) -> None:
    assert train(tmp_path / "run", *words) == code
    assert text in error_of(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_variants_of_the_paper_s_tables_are_trained_by_their_flags(
    store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    variant = ("--feature-crop", "2x2", "--masked-frames", 2, "--predict", "codes", "--codes", 8)
    assert train(run, "--features", store, *SMALL, *variant, "--steps", 1) == 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    model = config["model"]
    assert (model["grid"], model["masked_frames"], model["codes"]) == ([2, 2], 2, 8)
    assert config["recipe"]["feature_crop"] == [2, 2]
    assert train(run, "--resume", "--steps", 2) == 0


def test_pictures_and_features_have_defaults_that_suit_them(tmp_path: Path) -> None:
    pictures = {"data": ["x.mp4"], "encoder": "e", "pca": "p", "pixel_augmentation": True}
    paper = plan_forecaster(tmp_path / "a", pictures, {}).recipe
    assert (paper.crop_scale, paper.horizontal_flip, paper.steps) == (0.5, 0.5, 36800)
    stored = plan_forecaster(tmp_path / "b", {"features": "x"}, {}).recipe
    assert (stored.crop_scale, stored.horizontal_flip, stored.steps) == (1.0, 0.0, 36800)


@pytest.mark.long  # four processes import torch; training/test_processes.py has two that do not
def test_two_processes_started_by_one_command_have_one_s_losses(
    store: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fixed = ("--features", str(store), *SMALL, "--steps", "4")
    assert train(tmp_path / "one", *fixed) == 0
    capfd.readouterr()
    assert train(tmp_path / "two", *fixed, "--processes", "2") == 0, capfd.readouterr().err

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert capfd.readouterr().out.count("4 steps") == 1
