"""The predictors that are compared: the forecast, and copying the last frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
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
    bundle: Bundle,
    context: Tensor,
    steps: Sequence[int],
    stamps_s: Tensor | None = None,
    ahead_s: Tensor | None = None,
    motion: Tensor | None = None,
) -> tuple[Tensor, dict[int, Tensor]]:
    """Let the forecaster predict.

    One that takes frames at even distances alone is fed its own predictions step by step. One that
    takes any instants is told when each frame was taken, and asked for the instant of each target.

    Args:
        bundle: whose forecaster it is, and whose heads may read its layers.
        context: (B, N_c, h, w, C).
        steps: which are wanted, rising.
        stamps_s: (B, N_c) float64 on the CPU, when the context frames were taken; evenly, one frame
            interval apart, when None.
        ahead_s: (B, S) float64, seconds from the newest of them to the target of each step.
        motion: (B, S, 3) of the vehicle until each target, for a forecaster that takes it.

    Returns:
        Features (B, S, h, w, C) at these steps, and of each layer that a head reads the tokens
        (B, S, h, w, D).
    """
    layers = sorted({layer for head in bundle.heads for layer in layers_read(bundle, head)})
    forecaster = bundle.forecaster
    if stamps_s is None or ahead_s is None or not forecaster.takes_any_instants:
        memories, even_s, every_s = forecaster.evenly_spaced(context, max(steps))
        wanted_s = [every_s[step - 1] for step in steps]
        predicted = Prediction.join(forecaster.stream(memories, even_s, wanted_s, layers=layers))
        return predicted.z[:, 0], {layer: one[:, 0] for layer, one in predicted.hidden.items()}
    # Horizons of a forecast are common to its batch: rows that ask for the same go together.
    asked: dict[tuple[float, ...], list[int]] = {}
    for row, wanted in enumerate(ahead_s.tolist()):
        asked.setdefault(tuple(round(seconds, 6) for seconds in wanted), []).append(row)
    memories = forecaster.remember(context, stamps_s)
    z: dict[int, Tensor] = {}
    hidden: dict[int, dict[int, Tensor]] = {layer: {} for layer in layers}
    for wanted, rows in asked.items():
        rising = sorted(set(wanted))
        places = [rising.index(seconds) for seconds in wanted]
        chosen = tuple(memory[rows] for memory in memories)
        # Targets at the same instant are the same frame: any one's motion is that of all.
        firsts = [wanted.index(seconds) for seconds in rising]
        moved = None if motion is None else motion[rows][:, firsts]
        parts = forecaster.stream(chosen, stamps_s[rows], rising, moved, layers=layers)
        predicted = Prediction.join(parts)
        for place, row in enumerate(rows):
            z[row] = predicted.z[place, 0, places]
            for layer, tokens in predicted.hidden.items():
                hidden[layer][row] = tokens[place, 0, places]
    order = range(len(context))
    joined = {layer: torch.stack([of[row] for row in order]) for layer, of in hidden.items()}
    return torch.stack([z[row] for row in order]), joined
