"""Real processes that train together over gloo."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_processes import run_toy, start_toys

from dino_foresight_ros.training.run_log import read_history

pytestmark = pytest.mark.process


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_history(folder, "train")]


def wait_for_checkpoint(folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not (folder / "last.safetensors").is_file():
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.02)


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    # Without dropout, whose masks differ. Sums in another order differ in the last bits of float32,
    # and Adam carries that on: 1e-5 of the loss over ten steps.
    arguments = ("--steps", 10, "--ema", 0.9)
    assert run_toy(tmp_path / "one", *arguments).code == 0
    both = start_toys(2, tmp_path / "two", *arguments, "--accumulate", 2)
    assert [process.end().code for process in both] == [0, 0]

    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert len(losses(tmp_path / "two")) == 10
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for name in one:
        assert two[name].double().sub(one[name].double()).abs().max() < 1e-4


@pytest.mark.parametrize(
    "more",
    [
        # A DPT head has such weights too (below).
        pytest.param(("--unused",), id="unused weights", marks=pytest.mark.long),
        pytest.param(("--strategy", "fsdp"), id="fsdp"),
    ],
)
def test_other_models_and_strategies_have_the_losses_of_one_process(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    both = start_toys(2, tmp_path / "two", "--steps", 6, *more)
    assert [process.end().code for process in both] == [0, 0]
    both = start_toys(2, tmp_path / "two", "--steps", 10, "--resume", *more)
    ends = [process.end() for process in both]
    assert [end.code for end in ends] == [0, 0]
    assert "Warning" not in ends[0].errors + ends[1].errors

    # The learning rate of the first six steps was that of a run of six.
    assert run_toy(tmp_path / "short", "--steps", 6, *more).code == 0
    assert run_toy(tmp_path / "short", "--steps", 10, "--resume", *more).code == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "short"), rel=1e-5)
    two, short = (load_file(tmp_path / name / "best.safetensors") for name in ("two", "short"))
    assert all(torch.allclose(two[name], short[name], atol=1e-5) for name in short)


@pytest.mark.parametrize(
    ("model", "strategy"),
    [
        ("dpt", "ddp"),
        ("forecaster", "fsdp"),
        pytest.param("dpt", "fsdp", marks=pytest.mark.long),
        pytest.param("forecaster", "ddp", marks=pytest.mark.long),
    ],
)
def test_two_processes_train_a_head_and_a_forecaster_to_the_losses_of_one(
    tmp_path: Path, model: str, strategy: str
) -> None:
    # A DPT head has weights that its forward pass never uses.
    arguments = ("--model", model, "--strategy", strategy, "--steps", 6)
    assert run_toy(tmp_path / "one", *arguments).code == 0
    both = start_toys(2, tmp_path / "two", *arguments)
    assert [process.end().code for process in both] == [0, 0]

    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 6
    assert one[-1] < one[0]
    assert two == pytest.approx(one, rel=1e-4)


def test_trouble_of_all_is_told_once_and_one_process_can_go_on_alone(tmp_path: Path) -> None:
    both = start_toys(2, tmp_path / "a", "--steps", 12, "--broken", 96, 112, 128)
    ends = [process.end() for process in both]
    assert [end.code for end in ends] == [1, 1]
    told = [line for end in ends for line in end.errors.splitlines() if "not finite 3" in line]
    assert len(told) == 1
    assert "row 128" in told[0]

    assert run_toy(tmp_path / "a", "--steps", 12, "--resume").code == 0
    assert run_toy(tmp_path / "b", "--steps", 12).code == 0
    assert losses(tmp_path / "a") == pytest.approx(losses(tmp_path / "b"), rel=1e-5)


def test_all_processes_stop_when_one_is_asked_to(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    both = start_toys(2, folder, "--steps", 20_000, "--delay", 0.001)
    wait_for_checkpoint(folder)
    both[1].signal(signal.SIGINT)
    ends = [process.end() for process in both]

    assert [end.code for end in ends] == [130, 130]
    told = [line for end in ends for line in end.errors.splitlines() if "--resume" in line]
    assert len(told) == 1
    assert f"holds step {len(losses(folder))}:" in told[0]


def test_a_process_that_dies_ends_the_others_with_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    both = start_toys(2, folder, "--steps", 20_000, "--delay", 0.001)
    wait_for_checkpoint(folder)
    both[1].signal(signal.SIGKILL)
    survivor = both[0].end()

    assert survivor.code == 1
    assert "process 0 of 2 stops" in survivor.errors
    assert "Traceback" not in survivor.errors
