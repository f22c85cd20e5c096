"""How a training loop goes, what it asks for on the way, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from dino_foresight_ros.errors import UsageError

from .budget import Budget, Schedule
from .checkpoint import RunState
from .stepping import StepConfig


@dataclass(frozen=True)
class LoopConfig:
    """How a run goes.

    Attributes:
        budget: how long.
        schedule: learning rates.
        stepping: how gradients become updates.
        batch_size: samples per step, over all processes and accumulated parts.
        workers: loading processes per training process; 0 reads in a thread.
        evaluations: how many over the budget, evenly; the last one at its end.
        checkpoint_every_s: seconds between checkpoints besides those at evaluations.
        log_every: steps between logged values.
        seed: of everything random.
    """

    budget: Budget
    schedule: Schedule
    stepping: StepConfig = field(default_factory=StepConfig)
    batch_size: int = 64
    workers: int = 0
    evaluations: int = 20
    checkpoint_every_s: float = 300.0
    log_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_size", 1),
            ("workers", 0),
            ("evaluations", 1),
            ("checkpoint_every_s", 0),
            ("log_every", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be >= {least}")


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
        wait_share: share of the time of the steps, 0 to 1, that was spent waiting for data.
    """

    steps: int
    elapsed_s: float
    loss: float
    best: Evaluation | None
    best_step: int | None
    wait_share: float


Evaluate = Callable[[nn.Module], Evaluation]
"""Called in every process with the objective's model (averaged weights where there are any), in
evaluation mode and without gradients; returns the same in all of them."""
Publish = Callable[[Mapping[str, Tensor], RunState, "Evaluation | None"], None]
"""Called in the main process with the weights of the model that are best so far, to write them in
the form that others read; without an evaluation, with those at the end of the run."""
