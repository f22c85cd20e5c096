"""Builds the engine that the forecast node's parameters describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
from dino_foresight_ros.nodes.forecast.horizons import Horizons
from dino_foresight_ros.nodes.forecast.model_info import ModelInfo
from dino_foresight_ros.nodes.forecast.parameters import parse_output_size
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, INSTANCES, MAX_STEPS, SEGMENTATION, SPREAD
from dino_foresight_ros.progress import warn
from dino_foresight_ros.runtime import Foresight
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.shipped import names_bundle

SMALL_PASS = 2 * 10**10
"""Multiplications of a forecaster's pass up to which threads do more with whole horizons and heads
than with a part of each operation (benchmark/README.md)."""


class LoadedEngine(NamedTuple):
    """An engine, and what the node tells about it."""

    engine: Foresight
    model: ModelInfo
    trained: bool
    device: str
    dtype: str
    horizons: Horizons

    @property
    def has_heads(self) -> bool:
        """Whether forecasts can hold more than features."""
        return bool(self.engine.bundle.heads)


def load_engine(
    parameters: Mapping[str, Any], on_warning: Callable[[str], None] = warn
) -> LoadedEngine:
    """Load the bundle, build the engine and run it once, so that the first frame is not slow.

    Args:
        parameters: the node's.
        on_warning: is told of what the device "auto" passes over.

    Raises:
        BundleError: the bundle is missing, damaged or does not fit together.
        UsageError: no such device or number format.
        ForesightError: the model does not work, for example because it predicts NaN.
    """
    device = resolve_device(parameters["device"], on_warning)
    is_onnx = parameters["acceleration"] == "onnxruntime"  # takes no bfloat16
    wanted = "float32" if is_onnx and parameters["dtype"] == "auto" else parameters["dtype"]
    dtype = resolve_dtype(wanted, device)
    name = parameters["bundle"]
    path = name if names_bundle(name) else Path(name).expanduser()
    bundle = _with_options(Bundle.load(path, device=device, dtype=dtype), parameters)
    horizons = Horizons(
        bundle.forecaster, parameters["horizons_s"], parameters["horizon_from"], on_warning
    )
    steps = horizons.steps(parameters["steps"])
    cameras = parameters["cameras"] or [""]
    asked = parameters["acceleration"]
    is_small = _is_small(bundle, len(cameras)) and asked in ("auto", "none", "trace")
    torch.set_num_threads(1 if is_small else _usable_threads())
    size = parse_output_size(parameters["output_size"])

    def warm_engine(acceleration: str) -> Foresight:
        made = Foresight(
            bundle,
            # The topics that exist say how many are wanted, and they may change at any time.
            steps=MAX_STEPS,
            acceleration=acceleration,
            cameras=len(cameras),
            samples=parameters["samples"],
            execution_provider=parameters["execution_provider"],
            threads=_usable_threads() if is_small else 1,
        )
        for names, of_samples in _warm_requests(made, acceleration, parameters["sample_outputs"]):
            outputs, ahead_s = dict.fromkeys(range(1, steps + 1), names), horizons.ahead_s(steps)
            request = OutputRequest(outputs, size, ahead_s, sample_outputs=of_samples)
            made.warm_up(len(cameras), request)
        return made

    if asked == "auto" and is_small:
        try:
            engine = warm_engine("trace")
        except ForesightError as error:
            on_warning(f"acceleration auto takes none: {error}")
            engine = warm_engine("none")
    else:
        engine = warm_engine("none" if asked == "auto" else asked)
    return LoadedEngine(
        engine=engine,
        model=_model_info(engine, parameters["outputs"], parameters["sample_outputs"]),
        horizons=horizons,
        trained=bundle.trained,
        device=str(bundle.device),
        dtype=str(dtype).removeprefix("torch."),
    )


def _warm_requests(
    engine: Foresight, acceleration: str, of_samples: Collection[str]
) -> list[tuple[frozenset[str], frozenset[str]]]:
    """Outputs, and those of each future, by which heads run on other numbers of frames.

    With several futures, confidence takes the classes of each of them, objects take the objects and
    depth of each, and topics of single futures what the parameter says.
    """
    names, none = engine.available, frozenset[str]()
    if engine.samples == 1 or acceleration == "none":
        return [(names, none)]
    of_each = dict.fromkeys([none, names & {INSTANCES, DEPTH}, names & set(of_samples)])
    return [(outputs, each) for each in of_each for outputs in (names, names - {CONFIDENCE})]


def _with_options(bundle: Bundle, parameters: Mapping[str, Any]) -> Bundle:
    """The bundle with what parameters set of its forecaster."""
    names = ("context_frames", "max_context_age_s", "feed_back_beyond_s")
    changes = {name: parameters[name] for name in names if parameters[name]}
    if not changes:
        return bundle
    try:
        return replace(bundle, forecaster=bundle.forecaster.with_options(**changes))
    except ValueError as error:
        raise UsageError(f"bundle {bundle.name}: {error}") from error


def _is_small(bundle: Bundle, cameras: int) -> bool:
    """Whether several threads are best used for work of their own."""
    if bundle.device.type != "cpu" or _usable_threads() < 2:
        return False
    weights = sum(weight.numel() for weight in bundle.forecaster.parameters())
    tokens = (bundle.context_frames + 1) * bundle.grid[0] * bundle.grid[1]
    return weights * tokens * cameras <= SMALL_PASS


def _usable_threads() -> int:
    """How many threads torch may use in this process."""
    cores = len(os.sched_getaffinity(0))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


def published_outputs(engine: Foresight, allowed: Collection[str]) -> frozenset[str]:
    """The outputs that are published of those that parameters allow."""
    several = engine.available if engine.samples > 1 else engine.available - {SPREAD}
    return several & frozenset(allowed)


def _model_info(engine: Foresight, allowed: list[str], of_samples: list[str]) -> ModelInfo:
    bundle = engine.bundle
    segmentation: Any = bundle.tasks.get(SEGMENTATION)
    depth: Any = bundle.tasks.get(DEPTH)
    return ModelInfo(
        name=bundle.name,
        outputs=published_outputs(engine, allowed),
        samples=engine.samples,
        sample_outputs=engine.available & frozenset(of_samples),
        class_names=() if segmentation is None else segmentation.class_names,
        palette=() if segmentation is None else segmentation.palette,
        depth_is_metric=depth is not None and depth.is_metric,
        depth_focal=None if depth is None else depth.focal,
        image_size=bundle.image_size,
        only_predicted=engine.available - engine.available_of_step_0,
    )
