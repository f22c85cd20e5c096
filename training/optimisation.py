"""One step of an optimiser: gradients of all parts and processes, clipped, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dino_foresight_ros.errors import UsageError

from .batch_norm import share_batch_norms
from .batches import sources
from .checkpoint import Checkpoint, restore_optimiser, whole
from .fabric_import import Fabric
from .interrupts import STOP_SIGNALS
from .objective import Batch, Loss, Objective
from .processes import sum_over
from .recipes import TrainingRecipe
from .sampling import random_generator


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


class Optimisation:
    """A module in training: placed, with its optimiser, and averaged weights where wanted.

    Attributes:
        model: what is trained, on the device.
        adam: its optimiser.
        scaler: of mixed precision with float16, else None.
        averaged: the model with averaged weights, None without.
        bad_sources: what this process's parts of the newest step without a finite loss held.
    """

    def __init__(
        self, objective: Objective, recipe: TrainingRecipe, fabric: Fabric, saved: Checkpoint | None
    ) -> None:
        """Place everything, as a checkpoint has it where there is one.

        Raises:
            UsageError: averaged weights with --strategy fsdp.
        """
        self.objective, self.recipe, self.fabric = objective, recipe, fabric
        self.model = objective.model
        self.bad_sources: list[str] = []
        self._last_good: Batch | None = None
        self._is_sharded = fabric.world_size > 1 and recipe.strategy == "fsdp"
        if recipe.ema and self._is_sharded:
            raise UsageError("averaged weights are whole: with --strategy fsdp give --ema 0")
        if saved is not None:
            saved.load_model(self.model)
        self.averaged = averaged_copy(self.model, recipe.ema) if recipe.ema else None
        if saved is not None and self.averaged is not None:
            saved.load_averaged(self.averaged.module)
        if fabric.world_size > 1:
            share_batch_norms(self.model)
        if not self._is_sharded:
            self.objective.to(fabric.device)  # its frozen parts may be there already
        self._module = fabric.setup_module(self.objective)
        if self.averaged is not None:
            self.averaged.to(fabric.device)
        self.scaler: Any = getattr(fabric.strategy.precision, "scaler", None)
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]
        # Elsewhere torch's own choice is as quick; Lightning scales no gradients of a fused one.
        is_fused = fabric.device.type == "cpu" and self.scaler is None and not self._is_sharded
        self.adam = torch.optim.AdamW(
            self._parameters,
            lr=0.0,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=is_fused or None,
        )
        self._optimiser: Any = fabric.setup_optimizers(self.adam)
        if saved is not None:
            restore_optimiser(saved, self.model, self.adam)
            if self.scaler is not None and saved.state.scaler:
                self.scaler.load_state_dict(saved.state.scaler)

    @property
    def shown_model(self) -> nn.Module:
        """The model that others get to see: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    def step(
        self, number: int, parts: list[Batch], lr: float, stop: int, clock: Callable[[], float]
    ) -> Outcome:
        """Compute one step from this process's batch, in parts; alike in every process.

        Args:
            number: of the step, from 0.
            parts: `accumulate` of them.
            lr: learning rate.
            stop: signal number that this process was asked to stop by, 0: none.
            clock: seconds of training so far; the main process's counts.
        """
        # Dropout is a function of seed, step and process: resumed runs need no saved state.
        words = random_generator(self.recipe.seed, number, "step").integers(2**62, size=1)
        torch.manual_seed(int(words[0]) + self.fabric.global_rank)
        self._module.train()
        # Batch norm takes NaN into its running means before anybody sees the loss.
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.adam.zero_grad(set_to_none=True)
        total, weight = self._backward(parts)
        now_s = clock() if self.fabric.is_global_zero else 0.0
        asked = [float(stop == number) for number in STOP_SIGNALS]
        mine = torch.tensor([total, weight, now_s, *asked], dtype=torch.float64)
        total, weight, elapsed_s, *asked = sum_over(self.fabric, mine).tolist()
        stops = [number for number, count in zip(STOP_SIGNALS, asked, strict=True) if count]
        norm = self._scale_gradients(weight)
        # The scaler starts too high on purpose, and looks for the scale by overflowing.
        is_searching = self.scaler is not None and self.scaler.get_scale() > 1
        is_bad = not math.isfinite(total) or (not math.isfinite(norm) and not is_searching)
        if is_bad:
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            if self.scaler is not None:
                self.scaler.update()
        else:
            for group in self.adam.param_groups:
                group["lr"] = lr
            self._optimiser.step()
            self._last_good = parts[-1]
            if self.averaged is not None:
                self.averaged.n_averaged.fill_(number + 1)
                self.averaged.update_parameters(self.model)
        loss = total / weight if weight else 0.0
        return Outcome(loss, norm, is_bad, max(stops, default=0), elapsed_s)

    def _backward(self, parts: list[Batch]) -> tuple[float, float]:
        """Sum gradients of value x weight; return the sums of value x weight and of weight."""
        total, weights = 0.0, 0.0
        self.bad_sources = []
        for i, batch in enumerate(parts):
            is_last = i == len(parts) - 1
            with self.fabric.no_backward_sync(self._module, enabled=not is_last):
                loss: Loss = self._module(batch)
                weighted = loss.value * loss.weight
                self.fabric.backward(weighted)
            value, weight = float(weighted.detach()), float(loss.weight)
            if not math.isfinite(value):
                self.bad_sources += sources(batch)
            total, weights = total + value, weights + weight
        return total, weights

    def _scale_gradients(self, weight: float) -> float:
        """Turn the sum over all terms into their mean, clip it, and return its norm."""
        # Several processes average their gradients where the sum is needed.
        factor = self.fabric.world_size / weight if weight else 0.0
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if factor != 1.0 and gradients:
            torch._foreach_mul_(gradients, factor)
        limit = math.inf if self.recipe.clip is None else self.recipe.clip
        norm = self.fabric.clip_gradients(
            self._module, self._optimiser, max_norm=limit, error_if_nonfinite=False
        )
        assert norm is not None
        return float(whole(norm))

    def weights_are_sound(self) -> bool:
        """Whether the weights give a finite loss on the last batch that did, before its update."""
        if self._last_good is None:
            return True  # nothing was updated yet
        self.objective.eval()
        with torch.no_grad(), self.fabric.autocast():
            is_finite = torch.isfinite(self.objective(self._last_good).value)
        unsound = sum_over(self.fabric, 1.0 - is_finite.double())
        return not float(unsound)

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """Let every process have whole weights inside the block."""
        objective: Any = self.objective
        if self._is_sharded:
            objective.unshard()
        yield
        if self._is_sharded:
            objective.reshard()


def averaged_copy(model: nn.Module, decay: float) -> AveragedModel:
    """Copy a model for an exponential moving average of its weights and buffers.

    Set `n_averaged` to the number of steps before each update: early averages are short, or they
    would lag.
    """

    @torch.no_grad()
    def average(averaged: list[Tensor], now: list[Tensor], count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
            torch._foreach_lerp_(averaged, now, weight)
        else:
            torch._foreach_copy_(averaged, now)

    copy = AveragedModel(model, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]
    return copy.requires_grad_(False)
