"""Runs in processes of their own, which are killed, stopped, and run out of disk."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from training_processes import ToyProcess, run_toy

from dino_foresight_ros.training.run_log import read_history

pytestmark = pytest.mark.process

FAST = ("--steps", 40, "--dropout", 0.3, "--ema", 0.9)
BATCH = 16


def wait_for_steps(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    path = folder / "history.jsonl"
    while time.monotonic() < deadline:
        if path.is_file() and path.read_text().count('"train"') >= count:
            return
        time.sleep(0.01)
    pytest.fail(f"no {count} steps within 120 s")


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_history(folder, "train")]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run_toy(folder, *FAST).code == 0
    return losses(folder)


def test_a_killed_run_goes_on_with_the_same_losses(
    tmp_path: Path, uninterrupted: list[float]
) -> None:
    folder = tmp_path / "run"
    process = ToyProcess(tmp_path / "errors", folder, *FAST, "--hold", 12 * BATCH)
    wait_for_steps(folder, 12)
    process.signal(signal.SIGKILL)
    assert process.end().code == -signal.SIGKILL

    assert 12 <= len((folder / "history.jsonl").read_text().splitlines()) < 40
    assert run_toy(folder, *FAST, "--resume").code == 0
    assert losses(folder) == uninterrupted
    assert len(uninterrupted) == 40


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(
    tmp_path: Path, uninterrupted: list[float], number: int, code: int
) -> None:
    folder = tmp_path / "run"
    process = ToyProcess(tmp_path / "errors", folder, *FAST, "--hold", 5 * BATCH)
    wait_for_steps(folder, 5)
    process.signal(number)
    (tmp_path / "go_on").touch()
    ended, errors = process.end()

    assert ended == code
    message = errors.strip().splitlines()[-1]
    assert "--resume" in message
    assert "Traceback" not in errors
    done = len(losses(folder))
    assert f"holds step {done}:" in message
    assert run_toy(folder, *FAST, "--resume").code == 0
    assert losses(folder) == uninterrupted


def test_a_disk_that_fills_up_leaves_the_last_whole_checkpoint(
    tmp_path: Path, uninterrupted: list[float]
) -> None:
    folder = tmp_path / "run"
    # Stops at step 10, with a checkpoint.
    assert run_toy(folder, *FAST, "--broken", 160, 176, 192).code == 1
    before = (folder / "last.safetensors").read_bytes()
    # The next checkpoint does not fit any more.
    code, errors = run_toy(folder, *FAST, "--resume", "--largest-file", 6000)

    assert code == 1
    message = errors.strip().splitlines()[-1]
    assert "cannot be written" in message
    assert "checkpoint of step 10 is whole" in message
    assert "Traceback" not in errors
    assert (folder / "last.safetensors").read_bytes() == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert run_toy(folder, *FAST, "--resume").code == 0
    assert losses(folder) == uninterrupted
