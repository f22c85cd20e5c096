from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from dino_foresight_ros.errors import BundleError, ForesightError
from dino_foresight_ros.training.checkpoint import (
    RunState,
    read_checkpoint,
    read_file,
    restore_optimiser,
    save_checkpoint,
    write_file,
)


def trained(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimiser.step()
    return model, optimiser


def test_model_optimiser_averages_and_state_come_back(tmp_path: Path) -> None:
    model, optimiser = trained(0)
    state = RunState(7, 1.5, -0.25, 5, {"scale": 2.0}, "abc")
    averages, _ = trained(2)
    save_checkpoint(tmp_path / "c", model, optimiser, averages, state)

    other, fresh = trained(1)
    found = read_checkpoint(tmp_path / "c")
    found.load_model(other)
    restore_optimiser(found, other, fresh)
    restored, _ = trained(3)
    found.load_averaged(restored)
    assert found.state == state
    assert torch.equal(restored[0].weight, averages[0].weight)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert set(optimiser.state[a]) == set(fresh.state[b]) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(
            torch.equal(optimiser.state[a][key], fresh.state[b][key]) for key in fresh.state[b]
        )


def test_a_write_that_fails_leaves_the_older_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    write_file(path, {"a": torch.zeros(2)}, {"n": "1"})

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dino_foresight_ros.training.checkpoint.save_file", full)
    with pytest.raises(ForesightError, match=r"cannot be written: .*No space left"):
        write_file(path, {"a": torch.ones(2)}, {"n": "2"})

    assert [file.name for file in tmp_path.iterdir()] == ["c"]
    tensors, metadata = read_file(path)
    assert torch.equal(tensors["a"], torch.zeros(2))
    assert metadata == {"n": "1"}


def test_damaged_and_missing_files_are_told_apart_from_good_ones(tmp_path: Path) -> None:
    model, optimiser = trained(0)
    path = tmp_path / "c"
    with pytest.raises(BundleError, match="is missing"):
        read_checkpoint(path)
    save_checkpoint(path, model, optimiser, None, RunState())
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BundleError, match="not a whole checkpoint"):
        read_checkpoint(path)
    write_file(path, model.state_dict(), {"schema": "99"})
    with pytest.raises(BundleError, match="schema 99"):
        read_checkpoint(path)
