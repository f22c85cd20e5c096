"""Foreign pickles: read with an allow-list, or refused by name, never run."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.reference.pickles import read_pickle


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open('{}', 'w')",), "builtins.eval"),
        (os.mkdir, ("{}",), "mkdir"),
    ],
)
def test_a_file_that_would_run_code_is_refused_by_name(
    tmp_path: Path, function, arguments: tuple, name: str
):
    trace = tmp_path / "it-ran"
    path = tmp_path / "evil.ckpt"
    call = Call(function, *(a.format(trace) for a in arguments))
    torch.save({"state_dict": {}, "hyper_parameters": call}, path)
    with pytest.raises(InputError, match=rf"refused.*{name}"):
        read_pickle(path)
    assert not trace.exists()


def test_what_checkpoints_hold_is_read(tmp_path: Path):
    path = tmp_path / "good.ckpt"
    content = {
        "args": argparse.Namespace(layers=[2, 5], size=(1, 2)),
        "tensor": torch.arange(6.0).view(2, 3),
        "array": np.arange(4, dtype=np.float64),
        "scalar": np.float32(3.5),
    }
    torch.save(content, path)
    got = read_pickle(path)
    assert got["args"] == content["args"]
    assert torch.equal(got["tensor"], content["tensor"])
    np.testing.assert_array_equal(got["array"], content["array"])
    assert got["scalar"] == content["scalar"]


def test_a_scikit_learn_pca_is_read_without_scikit_learn(golden_dir: Path):
    model = read_pickle(golden_dir / "dinov2_pca_tiny.pth")["pca_model"]
    assert model.components_.shape == (32, 96)


def test_a_truncated_file_is_refused(golden_dir: Path, tmp_path: Path):
    path = tmp_path / "cut.ckpt"
    path.write_bytes((golden_dir / "dinof_tiny.ckpt").read_bytes()[:5000])
    with pytest.raises(InputError, match="not a whole PyTorch checkpoint"):
        read_pickle(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01."])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "odd.ckpt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"odd\.ckpt"):
        read_pickle(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_pickle(tmp_path / "none.ckpt")


def test_what_is_refused_while_reading_comes_without_advice_to_read_it_unprotected(tmp_path: Path):
    path = tmp_path / "odd.ckpt"
    torch.save({"array": np.array([1, "a"], dtype=object)}, path)
    with pytest.raises(InputError, match=r"odd\.ckpt is refused") as caught:
        read_pickle(path)
    assert "weights_only" not in str(caught.value)


def test_an_allowed_name_called_wrongly_is_one_line(tmp_path: Path):
    path = tmp_path / "odd.ckpt"
    torch.save({"args": Call(argparse.Namespace, 1)}, path)
    with pytest.raises(InputError, match="cannot be read"):
        read_pickle(path)
