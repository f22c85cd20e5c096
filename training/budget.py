"""How long a run goes on, and the learning rate along the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dino_foresight_ros.errors import UsageError

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Budget:
    """Optimiser steps or minutes, whichever is used up first.

    Attributes:
        steps: optimiser steps, or None.
        minutes: wall-clock minutes of the loop, evaluations included, over all resumed parts.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise UsageError("a run needs a budget: give steps or minutes")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps is {self.steps}; it must be >= 1")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UsageError(f"minutes is {self.minutes}; it must be positive")

    def share(self, steps: int, elapsed_s: float) -> float:
        """Return how much of the budget is used, 0 to 1."""
        shares = [0.0]
        if self.steps is not None:
            shares.append(steps / self.steps)
        if self.minutes is not None:
            shares.append(elapsed_s / (60 * self.minutes))
        return min(1.0, max(shares))


@dataclass(frozen=True)
class Schedule:
    """Learning rate by share of the budget.

    A schedule over shares, not steps, ends where the budget ends: also one of minutes, whose
    number of steps nobody knows.

    Attributes:
        lr: highest learning rate.
        kind: "cosine" (down to 0 at the end; the paper's) or "constant".
        warmup: share of the budget over which it rises, from a hundredth (the paper: none).
    """

    lr: float
    kind: str = "cosine"
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise UsageError(f"lr is {self.lr}; it must be positive")
        if self.kind not in SCHEDULES:
            raise UsageError(f"schedule '{self.kind}' is unknown; valid: {', '.join(SCHEDULES)}")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"warmup is {self.warmup}; it is a share of the budget, 0 to below 1")

    def at(self, share: float) -> float:
        """Return the learning rate where `share` (0 to 1) of the budget is used."""
        if share < self.warmup:
            return self.lr * max(share / self.warmup, 0.01)
        if self.kind == "constant":
            return self.lr
        rest = (share - self.warmup) / (1 - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * rest))
