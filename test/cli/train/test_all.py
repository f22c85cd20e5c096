from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from micro_bundle import make_micro_bundle
from training_data import keep_painted

from dino_foresight_ros.cli.evaluate import evaluate_bundle
from dino_foresight_ros.cli.main import main
from dino_foresight_ros.cli.train.arguments import Options
from dino_foresight_ros.cli.train.stages import WORK, cut
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.recordings import Recording, open_recordings

DATA = "synthetic:?seeds=3&frames=120&interval=0.1&size=42x56"
STAGES = [
    "pca", "features", "forecaster", "head_segmentation", "head_depth", "head_normals",
    "bundle", "evaluation",
]  # fmt: skip
HEADS = [stage for stage in STAGES if stage.startswith("head_")]
# A teacher of three heads stands for labels.
TAUGHT = [*HEADS, "bundle", "evaluation"]


class Calls:
    """Stands in for the stages' work: notes which were done, and leaves a file."""

    def __init__(self) -> None:
        self.done: list[tuple[str, bool]] = []
        self.fails_in: str | None = None

    def __call__(self, options: Options, **more: object) -> None:
        out = options["out"]
        stage = out.name
        self.done.append((stage, out.exists()))
        assert bool(options.get("resume")) == (out.exists() and stage != "features")
        out.mkdir(exist_ok=True)
        (out / "config.yaml").write_text("begun")
        if stage == self.fails_in:
            raise KeyboardInterrupt
        (out / "made").write_text(str(len(self.done)))

    def take(self) -> list[str]:
        """Names of the stages that were done since the last time."""
        names = [stage for stage, _ in self.done]
        self.done.clear()
        return names


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    for command in WORK:
        monkeypatch.setitem(WORK, command, calls)
    return calls


def commands(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The words of the commands that were printed, by the folder that they write."""
    told = capsys.readouterr().err.splitlines()
    lines = [shlex.split(line) for line in told if line.startswith("$ foresight ")]
    return {Path(words[words.index("--out") + 1]).name: words[2:] for words in lines}


@pytest.fixture
def train_all(tmp_path: Path) -> Callable[..., int]:
    def run(*more: str, data: str = DATA, labels: str | None = DATA) -> int:
        words = ["train", "all", "--data", data, "--encoder", "untrained-tiny"]
        words += [] if labels is None else ["--labels", labels]
        return main([*words, "--image-size", "42x56", *more, "--out", str(tmp_path / "out")])

    return run


@pytest.mark.slow
def test_runs_every_stage_and_then_none(calls: Calls, train_all: Callable[..., int]) -> None:
    assert train_all() == 0
    assert calls.take() == STAGES
    assert train_all() == 0
    assert calls.take() == []


def test_what_is_measured_on_is_not_trained_on(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    train_all()
    told = commands(capsys)
    assert list(told) == STAGES
    for stage in ("pca", "features", *HEADS):
        words = told[stage]
        assert words[words.index("--data") + 1] == f"{DATA}&part=0-0.8"
    words = told["evaluation"]
    assert words[words.index("--data") + 1] == f"{DATA}&part=0.82-1"
    assert words[words.index("--fit-data") + 1] == f"{DATA}&part=0-0.8"


def test_evaluation_takes_the_recordings_that_are_open(
    monkeypatch: pytest.MonkeyPatch, calls: Calls, train_all: Callable[..., int]
) -> None:
    opened = []
    monkeypatch.setattr(
        "dino_foresight_ros.recordings.open_recordings",
        lambda specs, *more: opened.append(specs) or open_recordings(specs, *more),
    )
    measured = []

    def measure(options: Options, opening: Callable[..., list[Recording]]) -> None:
        calls(options)
        measured.extend([opening(options["data"]), opening(options["fit_data"])])

    monkeypatch.setitem(WORK, "evaluate", measure)
    assert train_all() == 0
    assert [len(one[0]) for one in measured] == [21, 96]
    assert len(opened) == 2


def test_test_data_of_its_own_leaves_all_for_training(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    train_all("--test", "synthetic:?seeds=9&frames=30&size=42x56", labels=None)
    words = commands(capsys)["pca"]
    assert words[words.index("--data") + 1] == DATA
    assert calls.take() == ["pca", "features", "forecaster", "bundle", "evaluation"]


@pytest.mark.slow
def test_changes_redo_what_follows_from_them_alone(
    calls: Calls, train_all: Callable[..., int]
) -> None:
    train_all()
    calls.take()
    train_all("--steps", "7")
    assert calls.take() == ["forecaster", "bundle", "evaluation"]
    train_all("--steps", "7", "--head-steps", "5")
    assert calls.take() == [*HEADS, "bundle", "evaluation"]
    train_all("--steps", "7", "--head-steps", "5", "--max-clips", "3")
    assert calls.take() == ["evaluation"]
    train_all("--steps", "7", "--head-steps", "5", "--max-clips", "3", "--channels", "8")
    assert calls.take() == STAGES


def test_what_changes_no_result_redoes_nothing(calls: Calls, train_all: Callable[..., int]) -> None:
    train_all()
    calls.take()
    train_all("--workers", "0", "--device", "cpu", "--processes", "2")
    assert calls.take() == []


def test_other_data_redo_everything(calls: Calls, train_all: Callable[..., int]) -> None:
    train_all()
    calls.take()
    other = DATA.replace("seeds=3", "seeds=4")
    train_all(data=other, labels=other)
    assert calls.take() == STAGES


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pca", "features", "forecaster", "head_depth", "evaluation"])
def test_kill_at_any_stage_is_gone_on_from(
    calls: Calls, train_all: Callable[..., int], stage: str
) -> None:
    calls.fails_in = stage
    assert train_all("--steps", "7") == 130
    calls.take()
    calls.fails_in = None
    assert train_all("--steps", "7") == 0
    assert calls.done[0] == (
        stage,
        stage == "forecaster" or stage.startswith(("head_", "features")),
    )
    assert calls.take() == STAGES[STAGES.index(stage) :]


def test_only_the_wanted_heads_are_trained(calls: Calls, train_all: Callable[..., int]) -> None:
    train_all("--tasks", "depth")
    assert [name for name in calls.take() if name.startswith("head")] == ["head_depth"]


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (["--minutes", "1", "--steps", "3"], 2, "--minutes and --steps are both budgets"),
        (["--preset", "huge"], 2, "huge"),
        (["--head-preset", "huge"], 2, "preset 'huge' is unknown"),
        (["--interval", "3"], 1, "nothing to validate on"),
        (["--test", "synthetic:?seeds=1&frames=2&size=42x56"], 1, "nothing to measure on"),
        (["--test", DATA], 1, "120 of its frames would be trained on and measured on"),
        (["--minutes", "-1"], 2, "minutes is -1.0; it must be positive"),
        (["--head-steps", "0"], 2, "steps is 0; it must be >= 1"),
        (["--channels", "0"], 2, "--channels is 0; it must be >= 1"),
        (["--validation-share", "1"], 2, "--validation-share is 1.0; it must be between"),
        (["--stride-s", "nan"], 2, "--stride-s is nan; it must be positive"),
        (["--data", "synthetic:?seeds=1&part=0-0.5"], 2, "part is given"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(
    calls: Calls, train_all: Callable[..., int], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], more: list[str], code: int, text: str,
) -> None:  # fmt: skip
    assert train_all(*more) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert text in lines[0]
    assert calls.take() == []


@pytest.mark.slow
def test_too_short_recordings_are_refused_before_anything_is_computed(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    short = DATA.replace("frames=120", "frames=60")  # six seconds
    assert train_all(data=short, labels=None) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "nothing to validate on" in line
    assert calls.take() == []
    # What it asks for is enough, and a second less is not.
    least_s = float(re.search(r"at least ([\d.]+) s", line)[1])  # type: ignore[index]
    for frames, code in ((round(10 * least_s) - 10, 1), (round(10 * least_s) + 1, 0)):
        assert train_all(data=DATA.replace("120", str(frames)), labels=None) == code
    assert calls.take() == [stage for stage in STAGES if not stage.startswith("head")]


def test_labels_that_leave_nothing_to_validate_on_are_refused(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_all(labels=DATA.replace("seeds=3&frames=120", "seeds=5&frames=20")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "nothing is left for training" in line
    assert calls.take() == []


@pytest.mark.slow
def test_labels_that_are_missing_are_named(
    calls: Calls, train_all: Callable[..., int], shared_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    video = str(shared_dir / "data" / "highway.mp4")
    assert train_all(labels=video) == 1
    assert "--labels hold no labels" in capsys.readouterr().err
    assert calls.take() == []


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--tasks", "depth"), ("--head-preset", "light"), ("--head-minutes", "1"),
     ("--head-steps", "5")],
)  # fmt: skip
def test_what_is_for_heads_is_refused_without_labels(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str],
    flag: str, value: str,
) -> None:  # fmt: skip
    assert train_all(flag, value, labels=None) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    need = "need --labels or --pseudo-labels; give both or neither"
    assert lines == [f"foresight: {flag} is for heads, which {need}"]
    assert calls.take() == []


def trained_micro_bundle(folder: Path) -> Path:
    return replace(make_micro_bundle(), trained=True).save(folder / "teacher")


def test_data_without_labels_are_said_to_give_no_heads(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_all(labels=None) == 0
    assert "no labels are given: the bundle has no heads" in capsys.readouterr().err.splitlines()[0]


@pytest.mark.slow
def test_pseudo_labels_come_before_the_heads_that_learn_from_them(
    calls: Calls, train_all: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = str(trained_micro_bundle(tmp_path))
    assert train_all("--pseudo-labels", teacher, labels=None) == 0
    stages = [*STAGES[:3], "labels", *TAUGHT]
    assert calls.take() == stages
    told = commands(capsys)
    words = told["labels"]
    assert words[:2] == ["train", "pixels"]
    assert words[words.index("--data") + 1] == f"{DATA}&part=0-0.8"  # not what is measured on
    assert words[words.index("--pseudo-labels") + 1] == teacher
    for task in ("segmentation", "depth", "normals"):
        words = told[f"head_{task}"]
        assert words[words.index("--data") + 1] == f"pixels:{tmp_path / 'out' / 'labels'}"
    assert train_all("--pseudo-labels", teacher, labels=None) == 0
    assert calls.take() == []


@pytest.mark.slow
def test_another_teacher_redoes_labels_and_heads_alone(
    calls: Calls, train_all: Callable[..., int], tmp_path: Path
) -> None:
    bundle = replace(make_micro_bundle(), trained=True)
    assert train_all("--pseudo-labels", str(bundle.save(tmp_path / "one")), labels=None) == 0
    calls.take()
    with torch.no_grad():
        next(bundle.heads["depth"].parameters()).add_(0.1)
    assert train_all("--pseudo-labels", str(bundle.save(tmp_path / "other")), labels=None) == 0
    assert calls.take() == ["labels", *TAUGHT]


def test_an_untrained_teacher_is_refused(
    calls: Calls, train_all: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_all("--pseudo-labels", "untrained-tiny", labels=None) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "untrained-tiny is untrained: labels by its heads mean nothing" in line
    assert train_all("--pseudo-labels", "untrained-tiny") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--labels and --pseudo-labels both say what heads learn from; give one" in line
    assert calls.take() == []


def test_part_of_data_cannot_be_cut_again() -> None:
    assert cut("bags/drive", 0, 0.8) == "bags/drive?part=0-0.8"
    with pytest.raises(UsageError, match="start is given, so what to measure on is not clear"):
        cut("synthetic:?seeds=1&start=2", 0, 0.8)


def test_record_names_no_time_and_no_place_of_data(
    calls: Calls, train_all: Callable[..., int], tmp_path: Path
) -> None:
    train_all()
    record = json.loads((tmp_path / "out" / "stages.json").read_text())
    assert list(record) == STAGES
    assert all(one["done"] for one in record.values())


@pytest.mark.slow
def test_trains_a_bundle_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate_less(options: Options, **more: Any) -> None:
        less = {"horizons": (1, 2), "gaps": [0.2], "mlp_steps": 3}
        evaluate_bundle({**options, **less}, **more)

    monkeypatch.setitem(WORK, "evaluate", evaluate_less)
    data = keep_painted(tmp_path / "drive", [0], 60, (42, 56))
    words = ["train", "all", "--data", data, "--labels", data, "--tasks", "segmentation"]
    encoder = str(make_micro_bundle().save(tmp_path / "encoder"))
    words += ["--encoder", encoder, "--image-size", "42x56", "--channels", "12"]
    words += ["--preset", "tiny-cpu", "--steps", "2", "--head-preset", "linear"]
    words += ["--head-steps", "2", "--interval", "0.1", "--stride-s", "0.1", "--device", "cpu"]
    words += ["--workers", "0", "--validation-share", "0.4", "--max-clips", "2"]
    words += ["--out", str(tmp_path / "out")]
    assert main(words) == 0
    report = json.loads((tmp_path / "out" / "evaluation" / "report.json").read_text())
    assert report["bundle"]["heads"] == ["segmentation"]
    assert report["bundle"]["frame_interval_s"] == pytest.approx(0.1)
    assert report["bundle"]["channels"] == 12
    assert report["bundle"]["trained"] is False  # whatever was trained on random features
    assert report["features"][0]["clips"] >= 1
    assert report["labels"]

    # Stopped before the run's end was noted, a run is gone on with by the command that is printed.
    record = tmp_path / "out" / "stages.json"
    stages = json.loads(record.read_text())
    for stage in ("forecaster", "head_segmentation"):
        stages[stage]["done"] = False
    record.write_text(json.dumps(stages))
    capsys.readouterr()
    assert main(words) == 0
    told = commands(capsys)
    assert {"forecaster", "head_segmentation"} <= set(told)
    for stage in ("forecaster", "head_segmentation"):
        assert "--resume" in told[stage]
        assert main(told[stage]) == 0

    capsys.readouterr()
    (tmp_path / "out" / "bundle" / "pca.safetensors").unlink()
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "head_segmentation: unchanged, kept" in said
    assert "bundle: its files are damaged, starting anew" in said
    # Made again of the same parts: what was measured of it still holds.
    assert "evaluation: unchanged, kept" in said
