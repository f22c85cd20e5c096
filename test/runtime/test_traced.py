"""Traced graphs give what the functions give, are kept for few shapes, and are not believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from plain_engine import ALL, MS, START, check_equal, video
from torch import Tensor, nn

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.nodes.forecast import load_engine as forecast_engine
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.runtime import CameraFrame, Foresight, traced
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.runtime.traced import TracedFunction


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each graph that is recorded."""
    count: list[int] = []
    trace = torch.jit.trace

    def counted(*arguments: Any, **options: Any) -> Any:
        count.append(1)
        return trace(*arguments, **options)

    monkeypatch.setattr(torch.jit, "trace", counted)
    return count


def call(function: TracedFunction, rows: int) -> Tensor:
    x = torch.arange(2.0 * rows).reshape(rows, 2)
    return function(((rows, 2), 3.0), (x, 3.0))


def times(x: Tensor, factor: float) -> Tensor:
    return torch.where(x > 1.0, x * factor, x)


def test_a_graph_runs_instead_of_the_function_and_gives_the_same() -> None:
    calls: list[int] = []

    def counted(x: Tensor, factor: float) -> Tensor:
        calls.append(1)
        return times(x, factor)

    function = TracedFunction(counted)
    function.prepare(((4, 2), 3.0), (torch.zeros(4, 2), 3.0))
    calls.clear()
    assert torch.equal(call(function, 4), times(torch.arange(8.0).reshape(4, 2), 3.0))
    assert calls == []
    call(function, 5)
    assert calls == [1]


def test_a_graph_that_holds_a_number_of_its_first_call_is_refused() -> None:
    function = TracedFunction(lambda x: x + float(x.sum()))
    with pytest.raises(ForesightError, match=r"as a traced graph differs by"):
        function.prepare((), (torch.ones(3),))
    assert function.shapes == []


def test_what_torch_cannot_record_is_one_line() -> None:
    layer = nn.Linear(3, 3)  # its weights could still be trained
    function = TracedFunction(lambda x: layer(x))
    with pytest.raises(ForesightError, match=r"cannot be traced \(.*grad"):
        function.prepare((), (torch.ones(3),))


def test_a_shape_that_stays_is_recorded_and_others_are_not(recorded: list[int]) -> None:
    function = TracedFunction(times)
    for _ in range(traced.STEADY_CALLS):
        assert recorded == []
        call(function, 4)
    assert recorded == [1]
    for rows in range(5, 5 + 10 * traced.MOST_GRAPHS):
        call(function, rows)
        call(function, 4)
    assert recorded == [1]
    assert function.shapes == [((4, 2), 3.0)]


def test_graphs_are_bounded_and_the_longest_unused_one_goes(recorded: list[int]) -> None:
    function = TracedFunction(times)
    for rows in range(1, traced.MOST_GRAPHS + 3):
        function.prepare(((rows, 2), 3.0), (torch.zeros(rows, 2), 3.0))
        call(function, 1)
    assert len(function.shapes) == traced.MOST_GRAPHS
    kept = {shape[0] for shape, _ in function.shapes}
    assert 1 in kept
    assert not {2, 3} & kept
    assert call(function, 2).shape == (2, 2)


def test_a_shape_that_cannot_be_recorded_in_mid_stream_is_told_once(recorded: list[int]) -> None:
    told: list[str] = []
    function = TracedFunction(lambda x, factor: x * float(x.sum()), told.append)
    for _ in range(3 * traced.STEADY_CALLS):
        assert float(call(function, 1).sum()) == 1.0
    assert len(recorded) == len(told) == 1
    assert "it goes on without" in told[0]


def frames(index: int) -> Mapping[str, CameraFrame]:
    """Two cameras of other sizes and wishes."""
    picture, stamp_ns = video(index + 1)[index], START + 200 * MS * index
    return {
        "left": CameraFrame(picture, stamp_ns, OutputRequest(ALL, "input")),
        "right": CameraFrame(picture[:40], stamp_ns, OutputRequest({0: ALL, 2: {"depth"}})),
    }


@pytest.mark.slow
def test_a_traced_engine_forecasts_what_a_plain_one_does(
    bundle: Bundle, recorded: list[int]
) -> None:
    ours = Foresight(bundle, steps=2, acceleration="trace", cameras=2)
    assert recorded == []
    ours.warm_up(2, OutputRequest({1: ours.available, 2: ours.available}))
    first = len(recorded)
    assert 3 <= first <= 8
    plain = Foresight(bundle, steps=2)
    for i in range(6):
        found, expected = ours.update_cameras(frames(i)), plain.update_cameras(frames(i))
        for camera in ("left", "right"):
            assert found[camera].drop == expected[camera].drop
            if expected[camera].forecast is not None:
                check_equal(found[camera].forecast, expected[camera].forecast)
    assert found["left"].forecast is not None
    assert len(recorded) == first


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_graphs_take_motion_that_comes_and_goes(recorded: list[int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = WorldConfig(
        channels=30, width=24, layers=2, heads=2, rope=(4, 4, 4), context_frames=3,
        motion="blocks", hindcast=True,
    )  # fmt: skip
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    for name, parameter in forecaster.named_parameters():
        if name.startswith("motion."):
            torch.nn.init.normal_(parameter, std=0.3)
    made = replace(make_micro_bundle(), forecaster=forecaster).to("cpu", dtype)
    ours = Foresight(made, steps=2, acceleration="trace")
    ours.warm_up(1, OutputRequest({1: ours.available, 2: ours.available}))
    first = len(recorded)
    assert first > 0
    plain, turned, count = Foresight(made, steps=2), of_twist((4.0, 0.0, 0.3), (0.2, 0.4)), 0
    for i, picture in enumerate(video(7)):
        motion, stamp_ns = (turned if i % 2 else None), START + 200 * MS * i
        wanted = {0: {"features"}, 1: {*ours.available, "features"}, 2: {*ours.available}}
        found = ours.update(picture, stamp_ns, wanted, motion=motion)
        expected = plain.update(picture, stamp_ns, wanted, motion=motion)
        if expected is not None:
            assert found is not None
            check_equal(found, expected)
            count += 1
    assert count >= 5
    assert len(recorded) == first


PARAMETERS = {
    "device": "cpu", "dtype": "float32", "bundle": "tiny", "acceleration": "auto",
    "context_frames": 0, "max_context_age_s": 0.0, "feed_back_beyond_s": 0.0,
    "horizons_s": [], "horizon_from": "frame", "steps": 2, "cameras": [""], "samples": 1,
    "execution_provider": "auto", "output_size": "grid", "outputs": [], "sample_outputs": [],
}  # fmt: skip
"""Of forecast_node, as far as its engine reads them."""


@pytest.mark.slow
def test_what_is_asked_of_several_futures_is_recorded_before_the_first_frame(
    recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = WorldConfig(
        channels=30, width=24, layers=2, heads=2, rope=(4, 4, 4), context_frames=3, hindcast=True,
        futures="blocks",
    )  # fmt: skip
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    made = replace(make_micro_bundle(), forecaster=forecaster)
    monkeypatch.setattr(Bundle, "load", lambda *_, **__: made)
    monkeypatch.setattr(traced, "STEADY_CALLS", 1)
    parameters = {
        **PARAMETERS, "acceleration": "trace", "samples": 3, "sample_outputs": ["depth"],
    }  # fmt: skip
    threads = torch.get_num_threads()
    try:
        engine = forecast_engine.load_engine(parameters).engine
    finally:
        torch.set_num_threads(threads)
    first = len(recorded)
    assert first > 0
    plain = Foresight(made, steps=2, samples=3)
    names, few = plain.available, frozenset({"segmentation", "spread"})
    asked = [
        (names, ()),
        (few, ()),
        (names, ("depth",)),
        (frozenset({"depth"}), ()),
        (frozenset({"depth", "segmentation"}), ("depth",)),
    ]
    for i, picture in enumerate(video(10)):
        outputs, of_samples = asked[i % 5]
        request = OutputRequest(
            {1: outputs, 2: outputs}, samples=3, sample_outputs=frozenset(of_samples)
        )
        frame = CameraFrame(picture, START + 200 * MS * i, request)
        found, expected = (e.update_cameras({"": frame})[""].forecast for e in (engine, plain))
        if expected is not None:
            assert found is not None
            check_equal(found, expected)
    assert expected is not None
    assert len(recorded) == first


@pytest.mark.slow
def test_auto_falls_back_where_torch_does_not_trace(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise AttributeError("torch.jit is gone")

    monkeypatch.setattr(torch.jit, "trace", gone)
    monkeypatch.setattr(forecast_engine, "_is_small", lambda *_: True)
    monkeypatch.setattr(Bundle, "load", lambda *_, **__: bundle)
    told: list[str] = []
    threads = torch.get_num_threads()
    try:
        engine = forecast_engine.load_engine(PARAMETERS, told.append).engine
    finally:
        torch.set_num_threads(threads)
    assert len(told) == 1
    assert "torch.jit is gone" in told[0]
    assert engine.update(np.zeros((60, 90, 3), np.uint8), 10**18) is None
    with pytest.raises(ForesightError, match=r"torch\.jit is gone"):
        forecast_engine.load_engine({**PARAMETERS, "acceleration": "trace"}, told.append)
