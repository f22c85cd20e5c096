"""The benchmark measures what it says: the plain way gives the engine's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark import memory
from dino_foresight_ros.benchmark.engine import FRAMES, Case, image_to_msg, images
from dino_foresight_ros.benchmark.measure import count_flops
from dino_foresight_ros.benchmark.plain import PlainWay
from dino_foresight_ros.cli.main import main
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.process.memory import resident_mb
from dino_foresight_ros.runtime import Foresight


@pytest.mark.slow
def test_the_plain_way_forecasts_what_the_engine_does():
    bundle = Bundle.untrained()
    engine = Foresight(bundle, steps=2)
    clip = images(FRAMES)
    forecast = None
    for i, image in enumerate(clip):
        forecast = engine.update(image, 10**18 + i * 200_000_000)
    assert forecast is not None
    plain = PlainWay(bundle, steps=2, outputs=("normals", "depth"))(clip)
    last = forecast.steps[1]
    np.testing.assert_allclose(last.normals, plain["normals_1"][0], atol=1e-4)
    np.testing.assert_allclose(last.depth, plain["depth_1"][0], rtol=1e-4)


def test_flops_of_a_matrix_product_are_counted():
    a, b = torch.randn(8, 16), torch.randn(16, 32)
    assert count_flops(lambda: a @ b) == 2 * 8 * 16 * 32


@pytest.mark.slow
def test_the_command_writes_every_stage_and_the_ratio_as_a_table_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "dino_foresight_ros.benchmark.engine.build", lambda size: make_micro_bundle()
    )
    words = ["bench", "--size", "tiny", "--device", "cpu", "--seconds", "0.05"]
    assert main([*words, "--outputs", "depth", "--out", str(tmp_path)]) == 0
    table = (tmp_path / "bench.md").read_text()
    assert "| tiny | cpu | float32 | 1 | encode |" in table
    assert table.split("\n\n")[1] in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "bench.json").read_text())
    assert found["case"]["size"] == "tiny"
    before = ["preprocess", "encode", "pca", "buffer", "forecast"]
    after = ["head depth", "download", *(["message"] if image_to_msg else [])]
    assert list(found["stages"]) == before + after
    ratio = found["plain"]["p50_ms"] / found["update"]["p50_ms"]
    assert found["speedup"] == pytest.approx(ratio)
    assert 0 < found["share_of_matmul"]["encode"] < 1.5


@pytest.mark.parametrize(
    "arguments",
    ["--size huge", "--steps 0", "--seconds 0", "--device gpu", "--memory 0", "--dtype int8"],
)
def test_bad_arguments_exit_with_2(arguments: str):
    try:
        code = main(["bench", *arguments.split()])
    except SystemExit as stop:
        code = stop.code
    assert code == 2


@pytest.mark.slow
def test_growth_is_read_from_the_process(monkeypatch: pytest.MonkeyPatch):
    readings = iter([100.0, 107.5])
    monkeypatch.setattr(memory, "resident_mb", lambda: next(readings))
    monkeypatch.setattr(memory, "WARM_UP", 2)
    assert memory.measure_growth(Case("tiny"), 3).growth_mb == 7.5
    assert resident_mb() > 10
