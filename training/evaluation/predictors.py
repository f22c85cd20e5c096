"""The predictors that are compared: the forecast, and copying the last frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.model import Bundle, Prediction
from dino_foresight_ros.runtime.decoder import layers_read

LINEAR, MLP = "linear", "mlp"
LINEAR_1, MLP_1 = "linear_1", "mlp_1"
"""The same from the newest frame alone."""
TITLES = {
    FORECAST: "forecast",
    COPY_LAST: "copy-last",
    LINEAR: "linear",
    MLP: "MLP",
    LINEAR_1: "linear, one frame",
    MLP_1: "MLP, one frame",
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


def roll_out(
    bundle: Bundle, context: Tensor, steps: Sequence[int]
) -> tuple[Tensor, dict[int, Tensor]]:
    """Let the forecaster predict, fed its own predictions.

    Args:
        bundle: whose forecaster it is, and whose heads may read its layers.
        context: (B, N_c, h, w, C).
        steps: which are wanted, rising.

    Returns:
        Features (B, S, h, w, C) at these steps, and of each layer that a head reads the tokens
        (B, S, h, w, D).
    """
    layers = sorted({layer for head in bundle.heads for layer in layers_read(bundle, head)})
    memories, stamps_s, ahead_s = bundle.forecaster.evenly_spaced(context, max(steps))
    wanted_s = [ahead_s[step - 1] for step in steps]
    parts = bundle.forecaster.stream(memories, stamps_s, wanted_s, layers=layers)
    predicted = Prediction.join(parts)
    return predicted.z[:, 0], {layer: one[:, 0] for layer, one in predicted.hidden.items()}
