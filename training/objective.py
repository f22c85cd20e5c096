"""What a trainer tells the loop: its loss, how good the weights are, where the best ones go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from .checkpoint import RunState

Batch = dict[str, Any]
"""Stacked tensors, and lists of strings."""


class Loss(NamedTuple):
    """What an objective gives for a part of a batch.

    Attributes:
        value: scalar, a mean over terms (masked tokens, labelled pixels).
        weight: how many terms, on any scale: a batch's loss is the mean over all its terms, however
            it is split. Keep it near 1 (a fraction of the tokens), for 16 bit formats.
    """

    value: Tensor
    weight: Tensor | float = 1.0


class Objective(nn.Module):
    """What is trained, and towards what.

    Attributes:
        model: the module whose weights are trained and saved. Frozen helpers (an encoder) belong
            in an objective too, but not in `model`.
    """

    model: nn.Module

    def forward(self, batch: Batch) -> Loss:
        """Loss of a collated batch on the model's device."""
        raise NotImplementedError


@dataclass(frozen=True)
class Evaluation:
    """What a validation found.

    Attributes:
        score: decides which weights are best; higher is better.
        values: for the logs.
        summary: a few words for the progress bar ("skill +4.2 %").
    """

    score: float
    values: Mapping[str, float]
    summary: str


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        steps: optimiser steps done, over all resumed parts.
        elapsed_s: seconds, likewise.
        loss: of the last step.
        best: the best evaluation of this part of the run, if any.
        best_step: after which step the best weights of the whole run were evaluated.
        wait_fraction: of the time of the steps, 0 to 1, that was spent waiting for data.
    """

    steps: int
    elapsed_s: float
    loss: float
    best: Evaluation | None
    best_step: int | None
    wait_fraction: float


Evaluate = Callable[[nn.Module], Evaluation]
"""Called in every process with the objective's model (averaged weights where there are any), in
evaluation mode and without gradients; returns the same in all of them."""
Publish = Callable[[Mapping[str, Tensor], RunState, "Evaluation | None"], None]
"""Called in the main process with the weights of the model that are best so far, to write them in
the form that others read; without an evaluation, with those at the end of the run."""
