"""`foresight train pca|features|head` and `bundle assemble`, end to end on seconds of data."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from training_data import foresight, kill, synthetic, write_micro_bundle

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.feature_store import FeatureStore
from dino_foresight_ros.training.model_parts import load_head, load_pca
from dino_foresight_ros.training.run_folder import alone_in


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_micro_bundle(tmp_path_factory.mktemp("micro") / "bundle")


@pytest.fixture(scope="module")
def pca(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parts") / "pca20"
    train("pca", micro, "--data", synthetic("0-1", 5), "--channels", 20, "--out", out)
    return out


def train(stage: str, encoder: Path, *words: object, code: int = 0) -> None:
    reading = [] if stage == "head" else ["--batch", 4]
    arguments = ["train", stage, "--encoder", encoder, "--workers", 0, *reading, *words]
    assert main([str(word) for word in arguments]) == code


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_pca_writes_a_part_with_a_scree_plot(micro: Path, pca: Path):
    fitted, part = load_pca(pca)
    assert (fitted.features, fitted.channels) == (96, 20)
    assert part.scores["tokens"] == 2 * 5 * 24
    assert part.scores["variance_kept"] == pytest.approx(
        float(fitted.explained_variance_ratio.sum()), abs=1e-4
    )
    bundle = Bundle.load(micro)
    frames = [f.image for r in open_recordings([synthetic("0-1", 5)]) for f in r.read(range(5))]
    with torch.inference_mode():
        images = torch.stack([torch.from_numpy(image) for image in frames])
        features = bundle.encoder(bundle.encoder.preprocess(images)).flatten(0, 2)
        z = fitted.transform(features)
        lost = ((features - fitted.inverse(z)) / fitted.std).square().mean()
    assert float(1 - lost) == pytest.approx(part.scores["variance_kept"], abs=1e-3)
    with Image.open(pca / "scree.png") as picture:
        assert picture.size == (840, 504)


def test_more_channels_than_values_are_refused_before_anything_is_encoded(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--data", synthetic("0", 2), "--channels", 97, "--out", tmp_path / "pca")
    train("pca", micro, *words, code=2)
    error = capsys.readouterr().err
    assert "channels is 97; it must be at most 96" in error
    assert "%|" not in error  # the progress bar: nothing was encoded


@pytest.mark.slow
def test_pca_takes_at_most_the_tokens_asked_for_and_chooses_channels_by_share(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--data", synthetic("0-1", 5), "--max-tokens", 100, "--keep", 0.9)
    train("pca", micro, *words, "--out", tmp_path / "pca")
    fitted, part = load_pca(tmp_path / "pca")
    assert part.scores["tokens"] == 96
    assert part.scores["variance_kept"] >= 0.9
    assert f"96 -> {fitted.channels} channels keep 9" in capsys.readouterr().out


@pytest.mark.slow
def test_an_existing_pca_is_refused_and_force_replaces_it(
    micro: Path, pca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(pca, tmp_path / "pca"))
    words = ("--data", synthetic("0", 2), "--channels", 3, "--out", out)
    train("pca", micro, *words, code=1)
    assert last_line(capsys) == f"foresight: {out} exists; choose another --out or add --force"
    assert load_pca(out)[0].channels == 20
    train("pca", micro, *words, "--force")
    assert load_pca(out)[0].channels == 3


@pytest.mark.process
def test_features_go_on_after_a_kill(micro: Path, pca: Path, tmp_path: Path):
    out, data = tmp_path / "store", synthetic("0-1", 16)
    words = ["--encoder", micro, "--pca", pca, "--data", data, "--workers", 1, "--batch", 2]
    words += ["--shard-mb", 0.002, "--device", "cpu", "--out", out]
    log = tmp_path / "log"
    process = foresight(log, "train", "features", *words, most_shards=5)
    deadline = time.monotonic() + 120
    while len(list(out.rglob("*.part"))) < 1 or len(list(out.rglob("*.safetensors"))) < 5:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kill(process)
    done = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(done) == 5
    train("features", micro, *words[2:])
    assert done == {path: path.stat().st_mtime_ns for path in done}
    assert not list(out.rglob("*.part"))
    whole = tmp_path / "whole"
    train("features", micro, *words[2:-1], whole)
    for stored, other in zip(
        FeatureStore.open(out).recordings, FeatureStore.open(whole).recordings, strict=True
    ):
        assert torch.equal(stored.read(range(16)), other.read(range(16)))


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_FSIZE as Linux has it")
def test_a_disk_that_fills_up_stops_cleanly_and_the_same_command_goes_on(
    micro: Path, tmp_path: Path
):
    out = tmp_path / "store"
    words = ["--encoder", micro, "--data", synthetic("0", 9), "--workers", 0, "--out", out]
    # Shards of 5 and of 4 raw frames: only the second fits.
    words += ["--shard-mb", 5 * 4 * 6 * 96 * 2 / 2**20 + 0.0001]
    log = tmp_path / "log"
    process = foresight(log, "train", "features", *words, limit_bytes=20_000)
    assert process.wait(120) == 1
    error = log.read_text().strip().splitlines()[-1]
    assert "cannot be written: File too large; what is finished stays: make room" in error
    assert not list(out.rglob("*.part"))
    assert len(list(out.rglob("*.safetensors"))) <= 1
    assert main(["train", "features", *map(str, words)]) == 0
    assert len(FeatureStore.open(out).recordings[0]) == 9


def test_features_tell_their_size_first_and_are_refused_to_another_pca(
    micro: Path, pca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--data", synthetic("0", 4), "--out", tmp_path / "store")
    train("features", micro, "--pca", pca, *words)
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(
        "1 recordings, 4 frames x 4x6 patches x 20 channels in float16: 0.00 MB"
    )
    train("features", micro, "--pca", micro, *words, code=1)
    line = last_line(capsys)
    assert "were made with the PCA 'pca20'" in line
    assert "not with 'PCA of micro'" in line


def test_a_pca_of_another_encoder_is_refused_with_both_names(
    pca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--data", synthetic("0", 4), "--pca", pca, "--out", tmp_path / "store")
    train("features", Path("untrained-tiny"), *words, code=1)
    line = last_line(capsys)
    assert "pca 'pca20' was made with the encoder" in line
    assert "of micro" in line
    assert "of untrained-tiny" in line
    assert not (tmp_path / "store").exists()


def test_overlapping_parts_are_warned_of_in_one_line(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = [synthetic("0", 6) + part for part in ("&part=0-0.7", "&part=0.5-1")]
    train("features", micro, "--data", *data, "--out", tmp_path / "store")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "twice" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("foresight: ")


@pytest.fixture(scope="module")
def heads(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("heads")
    for task in ("segmentation", "depth", "normals"):
        words = ("--task", task, "--preset", "linear", "--steps", 4, "--evaluations", 2)
        words += (
            "--data",
            synthetic("0", 4),
            "--validation",
            synthetic("1", 2),
            "--pca",
            micro,
            "--out",
            folder / task,
        )
        train("head", micro, *words)
    return {path.name: path for path in folder.iterdir()}


def test_heads_say_what_they_mean_were_made_with_and_score(heads: dict[str, Path]):
    scores = {"segmentation": "miou", "depth": "abs_rel", "normals": "mean_deg"}
    for task, score in scores.items():
        trained, part = load_head(heads[task])
        assert trained.task.name == task
        assert set(part.made_with) == {"encoder", "pca"}
        assert part.scores["validation"][score] >= 0
        assert part.recipe["steps"] == 4


@pytest.mark.slow
def test_parts_become_a_bundle_that_runs(
    micro: Path, heads: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "bundle"
    words = ["bundle", "assemble", "--encoder", micro, "--pca", micro, "--forecaster", micro]
    words += ["--licence", "mine", "--out", out]
    for task, path in heads.items():
        words += ["--head", f"{task}={path}"]
    assert main([str(word) for word in words]) == 0
    bundle, original = Bundle.load(out), Bundle.load(micro)
    assert set(bundle.heads) == set(heads)
    assert bundle.frame_interval_s == original.frame_interval_s
    assert bundle.info["licence"] == "mine"
    scores = bundle.info["provenance"]["segmentation head"]["scores"]
    assert scores == load_head(heads["segmentation"])[1].scores
    capsys.readouterr()
    assert main(["bundle", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "'PCA of micro' (" in shown
    shown = shown.replace(f"{tmp_path.parent}/", "")  # however long a path the tests have
    assert max(map(len, shown.splitlines())) < 160
    images = torch.randint(0, 255, (1, 60, 90, 3), dtype=torch.uint8)
    for a, b in ((bundle, original), (original, bundle)):
        assert torch.equal(
            a.pca.transform(a.encoder(a.encoder.preprocess(images))),
            b.pca.transform(b.encoder(b.encoder.preprocess(images))),
        )
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1
    assert "exists; choose another --out or add --force" in last_line(capsys)


def test_parts_of_another_pca_are_refused_with_both_names(
    micro: Path, pca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--encoder", micro, "--pca", pca, "--forecaster", micro, "--out", tmp_path / "b"]
    assert main(["bundle", "assemble", *map(str, words)]) == 1
    line = last_line(capsys)
    assert "was made with the pca 'PCA of micro'" in line
    assert "not with 'pca20'" in line
    assert not (tmp_path / "b").exists()


def test_other_layers_of_the_same_encoder_are_refused_by_name(
    micro: Path, pca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = [
        "--data",
        synthetic("0", 4),
        "--pca",
        pca,
        "--layers",
        "0,1,2",
        "--out",
        tmp_path / "f",
    ]
    train("features", micro, *words, "--out", tmp_path / "f", code=1)
    line = last_line(capsys)
    assert "was made with the encoder 'vit" in line
    assert ", layers 0,1,2'" in line.split("not with")[1]
    assert ", layers" not in line.split("not with")[0]


@pytest.mark.slow
@pytest.mark.parametrize("layers", [None, "0"])
def test_heads_can_be_trained_on_forecasts(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], layers: str | None
):
    words = ("--task", "depth", "--preset", "linear", "--steps", 2, "--evaluations", 1)
    words += ("--data", synthetic("0", 12), "--validation", synthetic("1", 10))
    words += ("--pca", micro, "--forecaster", micro)
    words += () if layers is None else ("--forecaster-layers", layers)
    train("head", micro, *words, "--out", tmp_path / "head")
    out = capsys.readouterr().out
    trained, part = load_head(tmp_path / "head")
    assert set(part.made_with) == {"encoder", "pca", "forecaster"}
    if layers is None:
        assert "on forecast features, 1 step(s) ahead: best AbsRel" in out
        assert "on the labelled picture's own features: AbsRel" in out
        assert trained.reads.kind == "pca_inverse"
        return
    assert "on layers of the forecaster, 1 step(s) ahead: best AbsRel" in out
    bundle = ["--encoder", micro, "--pca", micro, "--forecaster", micro]
    bundle += ["--head", f"depth={tmp_path / 'head'}", "--out", tmp_path / "bundle"]
    assert main(["bundle", "assemble", *map(str, bundle)]) == 0
    assert Bundle.load(tmp_path / "bundle").inputs["depth"].layers == (0,)


@pytest.mark.slow
def test_a_run_folder_is_refused_and_gone_on_with(
    micro: Path, heads: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = Path(shutil.copytree(heads["depth"], tmp_path / "depth"))
    words = ("--task", "depth", "--preset", "linear", "--evaluations", 2)
    words += (
        "--data",
        synthetic("0", 4),
        "--validation",
        synthetic("1", 2),
        "--pca",
        micro,
        "--out",
        out,
    )
    train("head", micro, *words, "--steps", 4, code=1)
    assert "holds a run; go on with --resume, or choose another --out" in last_line(capsys)
    train("head", micro, *words, "--steps", 6, "--lr", 0.5, "--resume", code=2)
    assert "was started with lr 0.001, not 0.5" in last_line(capsys)
    train("head", micro, *words, "--steps", 6, "--resume")
    assert "6 steps" in capsys.readouterr().out


def head(*words: object) -> int:
    return main(["train", "head", *map(str, words)])


@pytest.mark.slow
def test_a_head_is_gone_on_with_by_naming_its_folder_alone(
    micro: Path, pca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, whole = tmp_path / "run", tmp_path / "whole"
    fixed = ("--task", "depth", "--preset", "linear", "--evaluations", 2, "--lr", 0.002)
    fixed += (
        "--data",
        synthetic("0", 12) + "&interval=0.5",
        "--validation-share",
        0.3,
        "--image-size",
        "56x84",
    )
    fixed += ("--encoder", micro, "--pca", micro, "--workers", 0, "--dtype", "float32")
    assert head(*fixed, "--layers", "0,1,2,3", "--steps", 4, "--name", "eye", "--out", out) == 0
    before = yaml.safe_load((out / "config.yaml").read_text())
    capsys.readouterr()
    assert head("--resume", "--out", out, "--steps", 6) == 0
    assert "depth head, 6 steps" in capsys.readouterr().out
    after = yaml.safe_load((out / "config.yaml").read_text())
    assert after == {**before, "recipe": {**before["recipe"], "steps": 6}}
    assert load_head(out)[1].name == "eye"

    # The same flags again go on with the same run.
    same = (*fixed, "--layers", "0,1,2,3", "--steps", 6, "--out", whole)
    shutil.copytree(out, whole)
    assert head(*same, "--resume", "--name", "eye") == 0
    assert yaml.safe_load((whole / "config.yaml").read_text()) == after


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "normals"), "started with task depth, not normals"),
        (("--encoder", "untrained-tiny"), "not untrained-tiny"),
        (("--validation-share", 0.2), "started with validation_share 0.1, not 0.2"),
        (("--steps-ahead", 2), "started with steps_ahead 1, not 2"),
        (("--dtype", "float16"), "started with dtype auto, not float16"),
        (("--lr", 0.5), "started with lr 0.001, not 0.5"),
        (("--preset", "tiny"), "the run was started with batch_size 8, not 16"),
        (("--min-m", 90), "depth range 90.0 to 80.0 m"),
    ],
)
def test_another_head_than_the_one_in_the_folder_is_not_gone_on_with(
    heads: dict[str, Path], capsys: pytest.CaptureFixture[str], words: tuple, message: str
):
    before = (heads["depth"] / "config.yaml").read_bytes()
    assert head("--resume", "--out", heads["depth"], *words) == 2
    assert message in last_line(capsys)
    assert (heads["depth"] / "config.yaml").read_bytes() == before


def test_a_folder_without_a_head_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert head("--resume", "--out", tmp_path) == 1
    assert "holds no run to go on with" in last_line(capsys)
    for text, message in (
        ("kind: forecaster", "holds a run of a forecaster, not of a head"),
        ("kind: head", "holds no head's run: config.yaml lacks 'recipe'"),
        ("- head", "is damaged: it is no mapping"),
    ):
        (tmp_path / "config.yaml").write_text(text)
        assert head("--resume", "--out", tmp_path) == 1
        assert message in last_line(capsys)
    assert head("--task", "depth", "--out", tmp_path / "new") == 2
    assert "give --data, or --resume to go on with a run" in last_line(capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "depth", "--data", "nothing.mp4"), "nothing.mp4"),
        (("--task", "depth", "--steps-ahead", 2), "--steps-ahead needs --forecaster"),
        (("--task", "depth", "--steps-ahead", "0,1"), "--steps-ahead needs --forecaster"),
        (
            ("--task", "depth", "--forecaster", "x", "--steps-ahead", "0,17"),
            "--steps-ahead is 0, 17; it must be 1 to 16, or several of 0",
        ),
        (
            ("--task", "depth", "--forecaster", "x", "--steps-ahead", "0"),
            "--steps-ahead is 0; it must be 1",
        ),
        (("--task", "depth", "--forecaster-layers", 1), "--forecaster-layers needs --forecaster"),
        (("--task", "depth", "--class-weights", "rare"), "class_weights 'rare' is unknown; valid"),
        (("--task", "depth", "--min-m", 9, "--max-m", 3), "depth range 9.0 to 3.0 m"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple, message: str
):
    data = () if "--data" in words else ("--data", synthetic("0", 2))
    arguments = ["train", "head", "--encoder", micro, *words, *data, "--out", tmp_path / "head"]
    assert main([str(word) for word in arguments]) in (1, 2)
    assert message in last_line(capsys)
    assert not (tmp_path / "head").exists()


def test_recordings_without_labels_are_refused(
    micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(60):
        Image.new("RGB", (84, 56), (number, 0, 0)).save(folder / f"{number:04d}.png")
    words = ("--task", "depth", "--data", folder, "--out", tmp_path / "head")
    train("head", micro, *words, code=1)
    assert "no frame has depth in pictures" in last_line(capsys)


def test_part_yaml_keeps_seed_and_code_version(pca: Path):
    manifest = yaml.safe_load((pca / "part.yaml").read_text())
    assert manifest["recipe"]["data"] == [synthetic("0-1", 5)]
    assert manifest["code_version"].startswith("0.")


@pytest.mark.parametrize(
    "stage",
    [
        "pca --data x --encoder x",
        "features --data x --encoder x",
        "encoder",
        "forecaster",
        "head",
        "head --resume",
    ],
)
def test_second_training_into_a_folder_is_refused_and_names_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for out in (tmp_path / "run", tmp_path / "link"):
        with alone_in(tmp_path / "run"):
            assert main(["train", *stage.split(), "--out", str(out)]) == 1
        told = last_line(capsys)
        assert f"{out} is in use by another run of this command (process {os.getpid()} si" in told
    assert main(["train", *stage.split(), "--out", str(tmp_path / "run")]) != 0
    assert "in use" not in last_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link"]


def test_processes_that_share_a_folder_lock_a_share_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with (
        alone_in(tmp_path / "store", 0, 2),
        alone_in(tmp_path / "store", 1, 2),
        pytest.raises(InputError, match="in use"),
        alone_in(tmp_path / "store", 1, 2),
    ):
        pass
    with alone_in(tmp_path / "run"):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")  # of torchrun; the first one's lock is for both
        with alone_in(tmp_path / "run"):
            pass
