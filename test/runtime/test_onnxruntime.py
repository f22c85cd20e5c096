"""The engine in ONNX Runtime gives what it gives in torch; graphs are kept, and not believed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optional import NEEDS_ONNX
from torch import Tensor, nn

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model import Bundle, build_head
from dino_foresight_ros.model.centre_head import CentreHeadConfig
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.runtime import Foresight, onnx_sessions
from dino_foresight_ros.runtime.onnx_sessions import OnnxFunction, cache_folder, resolve_provider

pytestmark = [NEEDS_ONNX, pytest.mark.slow]


SHAPES = ((2, 3, 4, 4), 2.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dino_foresight_ros" / "onnxruntime"


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is exported; the same weights are exported once, which takes seconds."""
    names: list[str] = []
    made: dict[Any, bytes] = {}
    write = onnx_sessions.write_graph

    def counted(name: str, function: Any, owners: list[nn.Module], inputs: Any, path: Path) -> None:
        names.append(name)
        weights = tuple(float(p.detach().sum()) for m in owners for p in m.parameters())
        what = name, weights, tuple(x.shape for x in inputs.values())
        if what not in made:
            write(name, function, owners, inputs, path)
            made[what] = path.read_bytes()
        path.write_bytes(made[what])

    monkeypatch.setattr(onnx_sessions, "write_graph", counted)
    return names


class Scaled(nn.Module):
    """A convolution, of which one argument is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(3, 5, 3)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, factor: float) -> Tensor:
        return self.convolve(x) * factor


class Queries(Scaled):
    def forward(self, x: Tensor, factor: float) -> QueryOutput:  # type: ignore[override]
        y = self.convolve(x) * factor
        return QueryOutput(y.mean(dim=(2, 3)), y)


def check(module: nn.Module, seed: int = 0) -> OnnxFunction:
    """Prepare for one shape, and compare other values with torch."""
    graphs = OnnxFunction(module, "cpu")
    with torch.inference_mode():
        graphs.prepare(SHAPES, (torch.zeros(SHAPES[0]), 2.0))
        x = torch.randn(SHAPES[0], generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(graphs(SHAPES, (x, 2.0)), module(x, 2.0))
    return graphs


@pytest.mark.long
def test_same_forecast_and_the_next_start_exports_nothing(
    bundle: Bundle, cache: Path, exports: list[str]
) -> None:
    one_head = {"depth": bundle.heads["depth"]}
    bundle = replace(bundle, heads=one_head, tasks={"depth": bundle.tasks["depth"]})
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (5, *bundle.image_size, 3), np.uint8)
    step_ns = int(bundle.frame_interval_s * 1e9)
    plain = Foresight(bundle, steps=2)
    expected = [plain.update(x, i * step_ns) for i, x in enumerate(images)][-1]
    for _ in range(2):
        engine = Foresight(bundle, 2, acceleration="onnxruntime", execution_provider="cpu")
        found = [engine.update(x, i * step_ns) for i, x in enumerate(images)][-1]
        assert expected is not None
        assert found is not None
        for ours, theirs in zip(found.steps, expected.steps, strict=True):
            np.testing.assert_allclose(ours.depth, theirs.depth, rtol=1e-3)
    assert sorted(exports) == ["DPTHead", "Encoder", "predict_embedded"]
    assert len(list(cache.iterdir())) == 3


def test_graphs_are_kept_by_weights_and_damaged_or_other_ones_are_exported_anew(
    cache: Path, exports: list[str]
) -> None:
    torch.manual_seed(0)
    module, other = Scaled(), Scaled()
    check(module)
    check(copy.deepcopy(module), seed=1)
    (kept,) = cache.iterdir()
    assert len(exports) == 1
    check(other)
    (another,) = set(cache.iterdir()) - {kept}
    assert len(exports) == 2
    kept.write_bytes(another.read_bytes())  # as of an earlier version of the code
    check(module)
    another.write_bytes(b"half")
    check(other)
    assert len(exports) == 4
    assert set(cache.iterdir()) == {kept, another}
    check(Queries())
    (queries,) = set(cache.iterdir()) - {kept, another}
    kept.write_bytes(queries.read_bytes())  # of another number of outputs
    check(module)
    assert len(exports) == 6


def test_a_graph_that_differs_from_torch_is_refused_and_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = onnx_sessions.write_graph

    def wrong(name: str, function: Any, *more: Any) -> None:
        write(name, lambda *x: function(*x) + 1, *more)

    monkeypatch.setattr(onnx_sessions, "write_graph", wrong)
    with pytest.raises(ForesightError, match="Scaled in ONNX Runtime differs from torch by"):
        check(Scaled())
    assert list(cache.iterdir()) == []


@pytest.mark.long
def test_a_head_that_finds_objects_by_their_centres_gives_torchs_maps() -> None:
    torch.manual_seed(0)
    config = CentreHeadConfig(3, (1, 2), channels=(8, 8, 8, 8), width=8, queries=5)
    head = build_head(config, 6, layers=4).eval().to(memory_format=torch.channels_last)
    graphs = OnnxFunction(head, "cpu")
    with torch.inference_mode():
        for count in (1, 3):
            shapes = ((count, 6, 8, 24),)
            graphs.prepare(shapes, (torch.zeros(shapes[0]),))
            x = torch.randn(shapes[0])
            found, expected = graphs(shapes, (x,)), head(x)
            torch.testing.assert_close(found.masks, expected.masks, atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(found.classes, expected.classes, atol=1e-3, rtol=1e-3)


def test_without_a_folder_to_write_to_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-such-folder")
    assert cache_folder() is None
    queries = Queries()
    graphs = OnnxFunction(queries, "cpu")
    x = torch.ones(SHAPES[0])
    with torch.inference_mode():
        graphs.prepare(SHAPES, (x, 2.0))
        found, expected = graphs(SHAPES, (x, 2.0)), queries(x, 2.0)
    torch.testing.assert_close(found.classes, expected.classes)
    torch.testing.assert_close(found.masks, expected.masks)


def test_what_cannot_be_had_is_refused_before_anything_is_exported(
    fresh_bundle: Bundle, exports: list[str]
) -> None:
    import onnxruntime

    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UsageError, match=r"'tensorrt' is not in the installed.* has cpu"):
            Foresight(fresh_bundle, acceleration="onnxruntime", execution_provider="tensorrt")
    with pytest.raises(UsageError, match="'npu' is unknown; valid: auto, cpu, cuda"):
        resolve_provider("npu")
    assert resolve_provider("auto") in ("cpu", "cuda", "openvino")
    half = fresh_bundle.to("cpu", torch.bfloat16)
    with pytest.raises(UsageError, match="takes no bfloat16; use dtype float32"):
        Foresight(half, acceleration="onnxruntime")
    assert exports == []
