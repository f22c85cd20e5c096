"""Parts as ONNX files: what torch computes, on batches that were not traced, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

pytest.importorskip("onnx", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

import onnxruntime

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model import onnx_export
from dino_foresight_ros.model.onnx_export import export_bundle


@pytest.mark.long
def test_the_forecaster_gives_torchs_numbers_for_any_batch(tmp_path: Path) -> None:
    bundle = make_micro_bundle()
    said: list[str] = []
    found = export_bundle(bundle, tmp_path / "out", only=["forecast"], say=said.append)
    assert 0.0 <= found["forecast"] <= 1e-4
    assert "forecast.onnx" in said[0]
    index = json.loads((tmp_path / "out" / "onnx.json").read_text())
    part = index["parts"]["forecast"]
    assert (index["opset"], part["inputs"]) == (20, {"context": ["batch", 4, 4, 6, 30]})
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / part["file"]))
    context = torch.randn(5, 4, 4, 6, 30)
    (ours,) = session.run(None, {"context": context.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(ours, bundle.forecaster(context).numpy(), atol=1e-4)


def test_a_part_that_differs_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differing(part: object, modules: object, path: Path) -> float:
        path.write_text("half")
        raise ForesightError("forecast as ONNX differs")

    monkeypatch.setattr(onnx_export, "_export", differing)
    with pytest.raises(ForesightError, match="differs"):
        export_bundle(make_micro_bundle(), tmp_path / "out", only=["forecast"])
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parts \['wheels'\] are unknown; valid: encoder, fore"):
        export_bundle(make_micro_bundle(), tmp_path / "out", only=["wheels"])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("")
    assert main(["export", "untrained-tiny", "--out", str(tmp_path)]) == 2
    assert "has files; use --force" in capsys.readouterr().err
    assert main(["export", "untrained-tiny", "--out", str(tmp_path / "kept")]) == 2
    assert main(["export", "untrained-tiny", "--out", str(tmp_path / "o"), "--steps", "0"]) == 2
