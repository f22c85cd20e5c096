"""One optimiser step: parts of a batch, mixed precision, clipping, averaged weights."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dino_foresight_ros.errors import BundleError, UsageError

from .batches import Batch, sources
from .distributed import Processes
from .sampling import random_generator

STOP_SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))
"""What asks a run to stop after the step it is in."""


class Loss(NamedTuple):
    """What an objective gives for a part of a batch.

    Attributes:
        value: scalar, a mean over terms (masked tokens, labelled pixels).
        weight: how many terms, on any scale: a batch's loss is the mean over all its terms, however
            it is split. Keep it near 1 (a share of the tokens), for 16 bit formats.
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
class StepConfig:
    """How gradients become updates.

    Attributes:
        accumulate: parts that a process's batch is computed in, to save memory.
        clip: largest norm of the gradient; None does not clip.
        betas: Adam's (the reference's code: 0.9 and 0.999).
        weight_decay: decoupled (AdamW); the paper's: 0.
        precision: "auto", "float32", "bfloat16" or "float16" under autocast; weights stay float32.
        ema: decay of the averaged weights per step, below 1; 0: none.
    """

    accumulate: int = 1
    clip: float | None = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    precision: str = "auto"
    ema: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.accumulate < 1:
            raise UsageError(f"accumulate is {self.accumulate}; it must be >= 1")
        if self.clip is not None and not self.clip > 0:
            raise UsageError(f"clip is {self.clip}; it must be positive")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"betas are {self.betas}; two numbers from 0 to below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"weight_decay is {self.weight_decay}; it must be >= 0")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema is {self.ema}; it must be 0 to below 1")


class Outcome(NamedTuple):
    """What a step did; the same in every process.

    Attributes:
        loss: mean over the batch of all processes.
        gradient_norm: before clipping.
        is_bad: loss or gradient was not finite, and nothing was updated.
        stop: highest signal number that a process was asked to stop by; 0: none.
        elapsed_s: the main process's clock.
    """

    loss: float
    gradient_norm: float
    is_bad: bool
    stop: int
    elapsed_s: float


class Averaged:
    """Exponential moving average of a model's floating-point state; the rest is copied."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {n: t.detach().clone() for n, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps; early averages are short, or they would lag."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, weight)
            else:
                self.state[name].copy_(tensor)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take saved averages.

        Raises:
            BundleError: the checkpoint has none, or others.
        """
        if set(state) != set(self.state):
            raise BundleError("the checkpoint was made without (or with other) averaged weights")
        for name, tensor in state.items():
            self.state[name].copy_(tensor)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Let the model have the averaged weights inside the block."""
        own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.state)
        try:
            yield
        finally:
            model.load_state_dict(own)


class Stepper:
    """Makes optimiser steps, alike in every process."""

    def __init__(
        self, objective: Objective, config: StepConfig, processes: Processes, seed: int
    ) -> None:
        """Move the objective to the device and wrap it for several processes.

        Raises:
            UsageError: an unknown precision.
        """
        self.objective, self.config, self.processes, self.seed = objective, config, processes, seed
        device = processes.device
        self.dtype = resolve_precision(config.precision, device)
        objective.to(device)
        self.parameters = [p for p in objective.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=0.0,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=device.type == "cpu",  # elsewhere torch's own choice is as quick
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.averaged = Averaged(objective.model, config.ema) if config.ema else None
        self._wrapped: nn.Module = objective
        if processes.world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(objective, device_ids=ids)
        self.suspects: list[str] = []
        self._last_good: Batch | None = None

    def step(
        self, number: int, parts: list[Batch], lr: float, stop: int, elapsed_s: float
    ) -> Outcome:
        """Compute one step.

        Args:
            number: of the step; with the seed it decides dropout.
            parts: this process's batch, in `accumulate` parts.
            lr: learning rate.
            stop: signal number that this process was asked to stop by, 0: none.
            elapsed_s: seconds on this process's clock.
        """
        self._seed(number)
        self.objective.train()
        # Batch norm takes NaN into its running means before anybody sees the loss.
        buffers = [buffer.clone() for buffer in self.objective.model.buffers()]
        self.optimiser.zero_grad(set_to_none=True)
        total, weight = self._backward(parts)
        clock = elapsed_s if self.processes.is_main else 0.0
        asked = [float(stop == number) for number in STOP_SIGNALS]
        mine = torch.tensor([total, weight, clock, *asked], dtype=torch.float64)
        total, weight, elapsed, *asked = self.processes.sum(mine).tolist()
        stop = max(
            number if count else 0 for number, count in zip(STOP_SIGNALS, asked, strict=True)
        )
        norm = self._scale_gradients(weight)
        is_bad = not math.isfinite(total)
        # The scaler starts too high on purpose, and looks for the scale by overflowing.
        searching = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        is_bad = is_bad or (not math.isfinite(norm) and not searching)
        if not is_bad:
            for group in self.optimiser.param_groups:
                group["lr"] = lr
            self.scaler.step(self.optimiser)
            self._last_good = parts[-1]
            if self.averaged is not None:
                self.averaged.update(self.objective.model, number + 1)
        else:
            for buffer, before in zip(self.objective.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        self.scaler.update()
        return Outcome(total / weight if weight else 0.0, norm, is_bad, stop, elapsed)

    def weights_are_sound(self) -> bool:
        """Whether the weights give a finite loss on the last batch that did, before its update."""
        if self._last_good is None:
            return True  # nothing was updated yet
        self.objective.eval()
        with torch.no_grad(), self.autocast():
            return bool(torch.isfinite(self.objective(self._last_good).value))

    def autocast(self) -> Any:
        """Context of mixed precision."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.processes.device.type, self.dtype)

    def _seed(self, number: int) -> None:
        """Make dropout a function of seed, step and process: resumed runs need no saved state."""
        words = random_generator(self.seed, number, "step").integers(2**62, size=1)
        torch.manual_seed(int(words[0]) + self.processes.rank)

    def _backward(self, parts: list[Batch]) -> tuple[float, float]:
        """Sum gradients of value x weight; return the sums of value x weight and of weight."""
        total, weights = 0.0, 0.0
        self.suspects = []
        for i, batch in enumerate(parts):
            is_last = i == len(parts) - 1
            wrapped = self._wrapped
            sync = isinstance(wrapped, DistributedDataParallel) and not is_last
            with wrapped.no_sync() if sync else nullcontext():  # type: ignore[operator]
                with self.autocast():
                    loss: Loss = wrapped(batch)
                weighted = loss.value * loss.weight
                self.scaler.scale(weighted).backward()
            value, weight = float(weighted.detach()), float(loss.weight)
            if not math.isfinite(value):
                self.suspects += sources(batch)
            total, weights = total + value, weights + weight
        return total, weights

    def _scale_gradients(self, weight: float) -> float:
        """Turn the sum over all terms into their mean, clip it, and return its norm."""
        self.scaler.unscale_(self.optimiser)
        # Several processes average their gradients where the sum is needed.
        factor = self.processes.world / weight if weight else 0.0
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if factor != 1.0:
            torch._foreach_mul_(gradients, factor)
        limit = math.inf if self.config.clip is None else self.config.clip
        return float(nn.utils.clip_grad_norm_(self.parameters, limit))


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Turn a precision into the type that matrix products run in.

    Raises:
        UsageError: an unknown name.
    """
    from dino_foresight_ros.model.devices import DTYPES, resolve_dtype

    if name != "auto" and name not in DTYPES:
        raise UsageError(f"precision '{name}' is unknown; valid: auto, {', '.join(DTYPES)}")
    return resolve_dtype(name, device)
