"""Compiled where warm, plain everywhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.runtime.acceleration import Accelerator


@pytest.fixture
def compiled_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Replaces the compiler by one that notes the shapes it is used for."""
    calls: list[tuple[int, ...]] = []

    def compile_(function: Callable[..., Any], **_: object) -> Callable[..., Any]:
        def compiled(x: Tensor, *more: Any) -> Any:
            calls.append(tuple(x.shape))
            return function(x, *more)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


def test_only_warm_shapes_are_compiled(compiled_calls: list):
    accelerator = Accelerator("compile")
    double = accelerator.wrap(lambda x: 2 * x)
    with accelerator.warming_up():
        double(torch.zeros(1, 3))
    compiled_calls.clear()
    for shape in ((1, 3), (2, 3), (1, 4), (1, 3)):
        assert torch.equal(double(torch.ones(shape)), torch.full(shape, 2.0))
    assert compiled_calls == [(1, 3), (1, 3)]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What torch.compile itself made graphs of; they run as they are."""
    made: list[Any] = []

    def keep(graph: Any, _: object) -> Any:
        made.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **_: real(function, backend=keep, dynamic=False)
    )
    return made


class _KeepsParameter(torch.nn.Module):
    """Makes a parameter in its first pass, as an encoder does of its position embeddings."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "kept"):
            self.kept = torch.nn.Parameter(torch.ones(x.shape[-1]))
        return x + self.kept


@torch.inference_mode()
def test_parameters_made_in_the_first_pass_leave_one_whole_graph(graphs: list[Any]):
    accelerator = Accelerator("compile")
    add_one = accelerator.wrap(_KeepsParameter())
    with accelerator.warming_up():
        for _ in range(2):
            assert torch.equal(add_one(torch.zeros(2, 3)), torch.ones(2, 3))
    assert len(graphs) == 1


@torch.inference_mode()
def test_another_layout_is_not_compiled_in_mid_stream(graphs: list[Any]):
    accelerator = Accelerator("compile")
    double = accelerator.wrap(lambda x: 2 * x)
    x = torch.arange(12.0).reshape(1, 3, 4)
    with accelerator.warming_up():
        double(x)
    channels_last = x.mT.contiguous().mT
    newest = torch.cat([x, x])[:, :, None][1:, :, 0]
    odd = torch.stack([x, x], dim=1)[:, 1]  # the stride of its one row is that of two
    for other in (channels_last, newest, odd):
        assert torch.equal(double(other), 2 * x)
    assert len(graphs) == 1


def test_without_acceleration_nothing_is_compiled(bundle: Bundle, compiled_calls: list):
    Foresight(bundle, steps=1)
    assert compiled_calls == []


def test_an_accelerated_engine_compiles_at_start_only(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, compiled_calls: list
):
    engine = Foresight(bundle, steps=2, acceleration="compile")
    plain = Foresight(bundle, steps=2)
    assert compiled_calls
    fail = lambda *_, **__: pytest.fail("compiled in mid-stream")  # noqa: E731
    monkeypatch.setattr(torch, "compile", fail)
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for i in range(4):
        ours = engine.update(image, 10**18 + i * 200_000_000)
        theirs = plain.update(image, 10**18 + i * 200_000_000)
    assert ours is not None
    # Both steps go through a head at once in one of them, and rounding differs.
    np.testing.assert_allclose(ours.steps[1].depth, theirs.steps[1].depth, rtol=1e-5)


def test_a_compiler_that_fails_is_one_line_at_start(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> Callable[[Tensor], Tensor]:
        def compiled(*_: object) -> Tensor:
            raise RuntimeError("no C++ compiler\nanywhere")

        return compiled

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ForesightError, match=r"no C\+\+ compiler anywhere.*acceleration none"):
        Foresight(bundle, acceleration="compile")


def test_unknown_modes_are_refused_with_the_valid_ones():
    with pytest.raises(UsageError, match="none, trace, compile, cudagraphs"):
        Accelerator("tensorrt")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_graphs_need_a_gpu():
    with pytest.raises(UsageError, match="needs a CUDA device"):
        Accelerator("cudagraphs")


@pytest.mark.long
@pytest.mark.process
@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_torch_compile_itself_gives_the_same_values():
    accelerator = Accelerator("compile")
    function = accelerator.wrap(lambda x: torch.sin(x) * 2 + 1)
    x = torch.randn(4, 5)
    with accelerator.warming_up():
        torch.testing.assert_close(function(x), torch.sin(x) * 2 + 1)
