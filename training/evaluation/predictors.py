"""The predictors that are compared: the forecast, and copying the last frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.model import Bundle, Prediction
from dino_foresight_ros.runtime.decoder import layers_read

LINEAR, MLP = "linear", "mlp"
TITLES = {
    FORECAST: "forecast",
    COPY_LAST: "copy-last",
    LINEAR: "linear",
    MLP: "MLP",
    ORACLE: "oracle",
}
"""Names for people."""


class Predictor(Protocol):
    """Predicts several steps from a context."""

    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C)."""
        ...


class CopyLast:
    """The newest frame's features, at every step."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C)."""
        return context[:, -1:].expand(-1, self._steps, -1, -1, -1)


class Rollout:
    """The forecaster, fed its own predictions."""

    def __init__(self, forecaster: nn.Module, steps: Sequence[int]) -> None:
        self._forecaster = forecaster
        self._steps = steps

    def __call__(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, S, h, w, C), the wanted steps."""
        rollout = self._forecaster.rollout
        predicted: Tensor = rollout(context, max(self._steps))  # type: ignore[operator]
        return predicted[:, [step - 1 for step in self._steps]]


def rollout_layers(bundle: Bundle, context: Tensor, steps: Sequence[int]) -> dict[int, Tensor]:
    """The layers that heads read: layer -> (B, S, h, w, D) at the wanted steps."""
    layers = sorted({layer for head in bundle.heads for layer in layers_read(bundle, head)})
    if not layers:
        return {}
    asked = bundle.forecaster.evenly_spaced(context, max(steps))
    hidden = Prediction.join(bundle.forecaster.stream(*asked, layers=layers)).hidden
    return {layer: tokens[:, 0, [step - 1 for step in steps]] for layer, tokens in hidden.items()}
