"""Pseudo-labels are what the teacher's own heads see, and everything made of them says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from micro_bundle import make_micro_bundle

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model import Bundle, DepthTask
from dino_foresight_ros.model.heads import HeadInput
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.training.pseudo_labels import PseudoLabelled, Teacher

DRIVE = "synthetic:?seeds=0&frames=12&interval=0.8&size=56x84"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return replace(make_micro_bundle(), trained=True)


@pytest.mark.slow
def test_labels_are_what_the_node_sees_in_the_same_picture(bundle: Bundle) -> None:
    (drive,) = open_recordings([DRIVE])
    labelled = PseudoLabelled(drive, Teacher(bundle), (56, 84))
    frames = labelled.read(range(4), [SEGMENTATION, DEPTH, NORMALS])
    engine = Foresight(bundle, steps=1, output_size="input")
    wanted = {0: engine.available_of_step_0, 1: engine.available}
    forecast = None
    for k, frame in enumerate(frames):
        forecast = engine.update(frame.image, 10**18 + k * 200_000_000, wanted)
    assert forecast is not None
    assert forecast.step_0 is not None
    seen, made = forecast.step_0, frames[-1]
    assert made.depth is not None
    np.testing.assert_array_equal(made.image, drive.read([3])[0].image)
    np.testing.assert_array_equal(made.segmentation, seen.segmentation)
    np.testing.assert_allclose(made.depth, seen.depth, rtol=1e-4)
    np.testing.assert_allclose(made.normals, seen.normals, atol=1e-4)
    assert labelled.label_space is not None
    assert labelled.label_space.class_names == bundle.tasks[SEGMENTATION].class_names


def test_a_head_that_cannot_label_a_picture_is_left_out(bundle: Bundle) -> None:
    tasks = {**bundle.tasks, DEPTH: DepthTask(bins=16)}
    inputs = {NORMALS: HeadInput("forecaster_layers", (0, 1))}
    teacher = Teacher(replace(bundle, tasks=tasks, inputs=inputs))
    assert teacher.tasks == (SEGMENTATION,)
    assert teacher.left_out == {
        DEPTH: "its depth is not in metres",
        NORMALS: "its head reads the forecaster's layers",
    }
    with pytest.raises(BundleError, match="no head that labels pictures"):
        Teacher(replace(bundle, heads={}, tasks={}))
    with pytest.raises(UsageError, match="untrained"):
        Teacher(replace(bundle, trained=False))


@pytest.mark.slow
def test_a_bundle_taught_by_pseudo_labels_names_their_maker(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = str(bundle.save(tmp_path / "teacher"))
    store, head, out = (str(tmp_path / name) for name in ("labels", "head", "bundle"))
    keep = ["train", "pixels", "--data", DRIVE, "--image-size", "56x84", "--stride-s", "1.6"]
    assert main([*keep, "--pseudo-labels", teacher, "--device", "cpu", "--out", store]) == 0
    said = capsys.readouterr().out
    assert "pseudo-labels by the heads of bundle 'micro' (" in said
    assert "1 recordings, 6 frames" in said
    train = ["train", "head", "--task", "depth", "--data", f"pixels:{store}", "--encoder", teacher]
    train += ["--pca", teacher, "--preset", "linear", "--steps", "1", "--validation-share", "0.2"]
    assert main([*train, "--workers", "0", "--device", "cpu", "--out", head]) == 0
    assert "pseudo-labels by bundle 'micro' (" in capsys.readouterr().err
    parts = ["--encoder", teacher, "--pca", teacher, "--forecaster", teacher]
    assert main(["bundle", "assemble", *parts, "--head", f"depth={head}", "--out", out]) == 0
    assert "heads: depth (pseudo-labels by bundle 'micro' (" in capsys.readouterr().out
    info = yaml.safe_load((Path(out) / "bundle.yaml").read_text())["info"]
    assert info["pseudo_labels"]["depth"].startswith("pseudo-labels by bundle 'micro' (")


def test_a_bundle_without_heads_is_said_to_be_one(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = str(bundle.save(tmp_path / "teacher"))
    parts = ["--encoder", teacher, "--pca", teacher, "--forecaster", teacher]
    assert main(["bundle", "assemble", *parts, "--out", str(tmp_path / "bundle")]) == 0
    told = capsys.readouterr()
    assert "heads: none" in told.out
    assert "publish nothing of it but features" in told.err


def test_several_jobs_and_pseudo_labels_are_refused(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "pixels", "--data", DRIVE, "--image-size", "56x84", "--jobs", "2"]
    words += ["--pseudo-labels", "tiny", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "pseudo-labels are made in one process" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
