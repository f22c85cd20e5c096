"""Forecasters by kind: each predicts the features of future frames from those of past ones.

A new kind is a file with its `Forecaster` and a row in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.forecasters.interface import Forecaster, FrameMemory, Prediction
from dino_foresight_ros.model.forecasters.masked import MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.forecasters.sliding import SlidingForecaster
from dino_foresight_ros.model.forecasters.world import WorldForecaster
from dino_foresight_ros.model.forecasters.world_config import WorldConfig

__all__ = [
    "KINDS",
    "Forecaster",
    "FrameMemory",
    "MaskedConfig",
    "MaskedForecaster",
    "Prediction",
    "SlidingForecaster",
    "WorldConfig",
    "WorldForecaster",
    "build_forecaster",
    "describe_forecaster",
]

DEFAULT_KIND = "masked"
"""Of a bundle that names none."""


def _masked(values: dict[str, Any]) -> Forecaster:
    sliding = values.pop("sliding", None)
    forecaster = MaskedForecaster(MaskedConfig.from_dict(values))
    if sliding is None:
        return forecaster
    return SlidingForecaster(forecaster, sliding["grid"], stride=sliding["stride"])


def _world(values: dict[str, Any]) -> Forecaster:
    return WorldForecaster(WorldConfig.from_dict(values))


KINDS: dict[str, Callable[[dict[str, Any]], Forecaster]] = {"masked": _masked, "world": _world}
"""Kind in bundle.yaml -> builds one, with fresh weights, from what its `to_dict` gave."""


def build_forecaster(values: Mapping[str, Any]) -> Forecaster:
    """Build a forecaster with fresh weights from what `describe_forecaster` gave.

    Raises:
        BundleError: an unknown kind or key, or a value out of range.
    """
    values = dict(values)
    kind = values.pop("kind", DEFAULT_KIND)
    if kind not in KINDS:
        raise BundleError(f"forecaster kind '{kind}' is unknown; valid: {', '.join(KINDS)}")
    return KINDS[kind](values)


def describe_forecaster(forecaster: Forecaster) -> dict[str, Any]:
    """Kind, shape and options as plain values for bundle.yaml."""
    kind = {} if forecaster.kind == DEFAULT_KIND else {"kind": forecaster.kind}
    return {**kind, **forecaster.to_dict()}
