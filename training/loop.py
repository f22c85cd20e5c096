"""The training loop: a budget, steps on Lightning Fabric, exact resume, and trouble on the way.

It knows nothing of what is trained. `run_training` takes an `Objective` (a module and its loss) and
`Samples` (numbered without end), and makes steps until the budget is used up. Fabric places the
module, averages gradients between processes, and does mixed precision and clipping.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dino_foresight_ros.errors import ForesightError, UsageError

from .batch_norm import share_batch_norms
from .batches import Batches, sources
from .checkpoint import (
    BEST,
    LAST,
    RunState,
    read_checkpoint,
    restore_optimiser,
    save_checkpoint,
    whole,
    write_file,
)
from .interrupts import STOP_SIGNALS, StoppedBySignalError, signals_noted
from .objective import Batch, Evaluate, Evaluation, Loss, Objective, Publish, RunResult
from .processes import fail, gather, sum_over
from .recipes import TrainingRecipe
from .run_log import RunLog
from .sampling import Samples, random_generator, step_numbers

BAD_STEPS = 3
"""Steps in a row whose loss is not finite, after which a run stops."""


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


def run_training(
    objective: Objective,
    samples: Samples,
    recipe: TrainingRecipe,
    folder: Path,
    fabric: Fabric,
    *,
    evaluate: Evaluate | None = None,
    publish: Publish | None = None,
    resume: bool = False,
    name: str = "training",
) -> RunResult:
    """Train until the budget is used up.

    Args:
        objective: what is trained; moved to the device.
        samples: what it is trained on.
        recipe: how.
        folder: of the run; it holds last.safetensors, best.safetensors, history.jsonl and what the
            recipe's loggers write afterwards.
        fabric: from `processes.joined` or `processes.alone`.
        evaluate, publish: see `Evaluate` and `Publish`.
        resume: go on from last.safetensors in the folder.
        name: for the progress bar.

    Raises:
        ForesightError: the loss is not finite `BAD_STEPS` times in a row, or the folder cannot be
            written; last.safetensors is whole and good.
        StoppedBySignalError: SIGINT or SIGTERM came; the step was finished and
            last.safetensors written.
    """
    run = _Run(objective, samples, recipe, folder, fabric, name)
    run.evaluate, run.publish = evaluate, publish
    run.set_up(resume)
    with signals_noted() as asked:
        return run.train(asked)


class _Run:
    def __init__(
        self,
        objective: Objective,
        samples: Samples,
        recipe: TrainingRecipe,
        folder: Path,
        fabric: Fabric,
        name: str,
    ) -> None:
        self.objective, self.samples, self.recipe = objective, samples, recipe
        self.folder, self.fabric, self.name = folder, fabric, name
        self.model = objective.model
        self.state = RunState()
        self.evaluate: Evaluate | None = None
        self.publish: Publish | None = None
        self.best: Evaluation | None = None
        self._is_sharded = fabric.world_size > 1 and recipe.strategy == "fsdp"
        self._bad = 0
        self._bad_sources: list[str] = []
        self._last_good: Batch | None = None
        self._kept_step: int | None = None
        self._steps_s = self._waited_s = 0.0
        self._loss = math.nan

    def set_up(self, resume: bool) -> None:
        """Take up where last.safetensors stands, place everything, and make the optimiser."""
        recipe, fabric = self.recipe, self.fabric
        if recipe.ema and self._is_sharded:
            raise UsageError("averaged weights are whole: with --strategy fsdp give --ema 0")
        saved = read_checkpoint(self.folder / LAST) if resume else None
        if saved is not None:
            saved.load_model(self.model)
            self.state = saved.state
            self._kept_step = self.state.step
        self.averaged = averaged_copy(self.model, recipe.ema) if recipe.ema else None
        if saved is not None and self.averaged is not None:
            saved.load_averaged(self.averaged.module)
        if fabric.world_size > 1:
            share_batch_norms(self.model)
        self.module = fabric.setup_module(self.objective)
        if self.averaged is not None:
            self.averaged.to(fabric.device)
        self.scaler: Any = getattr(fabric.strategy.precision, "scaler", None)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        # Elsewhere torch's own choice is as quick; Lightning scales no gradients of a fused one.
        is_fused = fabric.device.type == "cpu" and self.scaler is None and not self._is_sharded
        self.adam = torch.optim.AdamW(
            self.parameters,
            lr=0.0,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=is_fused or None,
        )
        self.optimiser: Any = fabric.setup_optimizers(self.adam)
        if saved is not None:
            restore_optimiser(saved, self.model, self.adam)
            if self.scaler is not None and self.state.scaler:
                self.scaler.load_state_dict(self.state.scaler)
        self._next_checkpoint_s = self.state.elapsed_s + recipe.checkpoint_every_s

    def train(self, asked: list[int]) -> RunResult:
        """Make steps until the budget is used up; `asked` gets the signals that come."""
        recipe, state, fabric = self.recipe, self.state, self.fabric
        numbers = step_numbers(
            state.step, recipe.batch_size, recipe.accumulate, fabric.global_rank, fabric.world_size
        )
        log = RunLog(self.folder, self.name, fabric.is_global_zero, state.step, recipe.loggers)
        batches = Batches(self.samples, numbers, recipe.workers, fabric.device)
        self._started_s = time.monotonic() - state.elapsed_s
        try:
            while recipe.used(state.step, state.elapsed_s) < 1:
                self._one_step(batches, log, asked)
            self._end()
        finally:
            batches.close()
            log.close()
        waited = self._waited_s / self._steps_s if self._steps_s else 0.0
        return RunResult(
            state.step, state.elapsed_s, self._loss, self.best, state.best_step, waited
        )

    def _one_step(self, batches: Batches, log: RunLog, asked: list[int]) -> None:
        state, recipe = self.state, self.recipe
        used = recipe.used(state.step, state.elapsed_s)
        lr = recipe.learning_rate(used)
        start, waited = time.perf_counter(), batches.waited_s
        parts = [next(batches) for _ in range(recipe.accumulate)]
        outcome = self._update(parts, lr, asked[-1] if asked else 0)
        duration = time.perf_counter() - start
        self._steps_s += duration
        self._waited_s += batches.waited_s - waited
        self._check(outcome)
        state.step += 1
        state.elapsed_s = outcome.elapsed_s
        used_after = recipe.used(state.step, state.elapsed_s)
        if not outcome.is_bad:
            self._loss = outcome.loss
        self._log_step(log, outcome, lr, duration)
        log.progress(used_after, state.step, outcome.loss, duration)
        self._after_step(used, used_after, log)
        if outcome.stop:
            self._stop(outcome.stop)

    def _update(self, parts: list[Batch], lr: float, stop: int) -> Outcome:
        """Compute one step from this process's batch, in parts; alike in every process.

        Args:
            parts: `accumulate` of them.
            lr: learning rate.
            stop: signal number that this process was asked to stop by, 0: none.
        """
        step = self.state.step
        # Dropout is a function of seed, step and process: resumed runs need no saved state.
        words = random_generator(self.recipe.seed, step, "step").integers(2**62, size=1)
        torch.manual_seed(int(words[0]) + self.fabric.global_rank)
        self.module.train()
        # Batch norm takes NaN into its running means before anybody sees the loss.
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self.adam.zero_grad(set_to_none=True)
        total, weight = self._backward(parts)
        clock = time.monotonic() - self._started_s if self.fabric.is_global_zero else 0.0
        asked = [float(stop == number) for number in STOP_SIGNALS]
        mine = torch.tensor([total, weight, clock, *asked], dtype=torch.float64)
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
            self.optimiser.step()
            self._last_good = parts[-1]
            if self.averaged is not None:
                self.averaged.n_averaged.fill_(step + 1)
                self.averaged.update_parameters(self.model)
        loss = total / weight if weight else 0.0
        return Outcome(loss, norm, is_bad, max(stops, default=0), elapsed_s)

    def _backward(self, parts: list[Batch]) -> tuple[float, float]:
        """Sum gradients of value x weight; return the sums of value x weight and of weight."""
        total, weights = 0.0, 0.0
        self._bad_sources = []
        for i, batch in enumerate(parts):
            is_last = i == len(parts) - 1
            with self.fabric.no_backward_sync(self.module, enabled=not is_last):
                loss: Loss = self.module(batch)
                weighted = loss.value * loss.weight
                self.fabric.backward(weighted)
            value, weight = float(weighted.detach()), float(loss.weight)
            if not math.isfinite(value):
                self._bad_sources += sources(batch)
            total, weights = total + value, weights + weight
        return total, weights

    def _scale_gradients(self, weight: float) -> float:
        """Turn the sum over all terms into their mean, clip it, and return its norm."""
        # Several processes average their gradients where the sum is needed.
        factor = self.fabric.world_size / weight if weight else 0.0
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if factor != 1.0 and gradients:
            torch._foreach_mul_(gradients, factor)
        limit = math.inf if self.recipe.clip is None else self.recipe.clip
        norm = self.fabric.clip_gradients(
            self.module, self.optimiser, max_norm=limit, error_if_nonfinite=False
        )
        assert norm is not None
        return float(whole(norm))

    def _log_step(self, log: RunLog, outcome: Outcome, lr: float, duration: float) -> None:
        if self.state.step % self.recipe.log_every and self.state.step != 1:
            return
        values = {
            "loss": outcome.loss,
            "lr": lr,
            "gradient_norm": outcome.gradient_norm,
            "step_s": duration,
            "wait_fraction": self._waited_s / self._steps_s,
        }
        with self._telling_what_is_kept():
            log.values(self.state.step, "train", values)

    def _after_step(self, used: float, used_after: float, log: RunLog) -> None:
        """Evaluate and keep a checkpoint where it is time; not while the loss is not finite."""
        if self._bad:
            return
        evaluations = self.recipe.evaluations
        is_time = math.floor(used_after * evaluations) > math.floor(used * evaluations)
        if is_time and self.evaluate is not None:
            self._evaluate(self.evaluate, log)
        if (is_time or self.state.elapsed_s >= self._next_checkpoint_s) and used_after < 1:
            self._checkpoint()

    def _evaluate(self, evaluate: Evaluate, log: RunLog) -> None:
        state, model = self.state, self._shown_model()
        model.eval()
        with self._unsharded(), torch.no_grad(), self.fabric.autocast():
            found = evaluate(model)
        with self._telling_what_is_kept():
            log.values(state.step, "validation", {**found.values, "score": found.score})
        log.note(found.summary)
        is_best = state.best_score is None or found.score > state.best_score
        if math.isfinite(found.score) and is_best:
            self.best = found
            state.best_score, state.best_step = found.score, state.step
            self._keep_best(found)

    def _shown_model(self) -> nn.Module:
        """The model that others get to see: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged.module

    @contextmanager
    def _unsharded(self) -> Iterator[None]:
        """Let every process have whole weights inside the block."""
        objective: Any = self.objective
        if self._is_sharded:
            objective.unshard()
        yield
        if self._is_sharded:
            objective.reshard()

    def _keep_best(self, found: Evaluation | None) -> None:
        weights = {n: whole(t) for n, t in self._shown_model().state_dict().items()}
        if not self.fabric.is_global_zero:
            return
        note = {"step": str(self.state.step), "score": str(self.state.best_score)}
        with self._telling_what_is_kept():
            write_file(self.folder / BEST, weights, note)
            if self.publish is not None:
                self.publish(weights, self.state, found)

    def _checkpoint(self) -> None:
        """Replace last.safetensors, unless the newest step has ruined the weights."""
        self._next_checkpoint_s = self.state.elapsed_s + self.recipe.checkpoint_every_s
        if not self._weights_are_sound():
            return
        if self.scaler is not None:
            self.state.scaler = self.scaler.state_dict()
        averaged = None if self.averaged is None else self.averaged.module
        path = self.folder / LAST if self.fabric.is_global_zero else None
        with self._telling_what_is_kept():
            save_checkpoint(path, self.model, self.adam, averaged, self.state)
        self._kept_step = self.state.step

    def _weights_are_sound(self) -> bool:
        """Whether the weights give a finite loss on the last batch that did, before its update."""
        if self._last_good is None:
            return True  # nothing was updated yet
        self.objective.eval()
        with torch.no_grad(), self.fabric.autocast():
            is_finite = torch.isfinite(self.objective(self._last_good).value)
        unsound = sum_over(self.fabric, 1.0 - is_finite.double())
        return not float(unsound)

    @contextmanager
    def _telling_what_is_kept(self) -> Iterator[None]:
        """Tell of a write that failed what is still there."""
        try:
            yield
        except ForesightError as error:
            kept = "there is no checkpoint yet"
            if self._kept_step is not None:
                kept = f"the checkpoint of step {self._kept_step} is whole: go on with --resume"
            raise ForesightError(f"{error}; {kept}, after making room") from error

    def _end(self) -> None:
        if self.state.best_step is None:
            self._keep_best(None)
        self._checkpoint()
        self.fabric.barrier()

    def _check(self, outcome: Outcome) -> None:
        """Count steps whose loss is not finite, and stop after a few.

        Raises:
            ForesightError: too many in a row.
        """
        self._bad = self._bad + 1 if outcome.is_bad else 0
        if self._bad < BAD_STEPS:
            return
        found = [name for names in gather(self.fabric, self._bad_sources) for name in names]
        first = self.state.step - BAD_STEPS + 1
        kept = "no weights were kept"
        # A resumed run meets the same batches again: after the recordings were mended.
        self.state.step = first
        self._checkpoint()
        if self._kept_step is not None:
            kept = f"the good weights of step {self._kept_step} are in {self.folder / LAST}"
        unique = list(dict.fromkeys(found))
        shown = ", ".join(unique[:4]) + (f" and {len(unique) - 4} more" if len(unique) > 4 else "")
        raise fail(
            self.fabric,
            ForesightError(
                f"the loss was not finite {BAD_STEPS} times in a row, in steps {first + 1} to "
                f"{first + BAD_STEPS}; the last of these batches held {shown or 'finite values'}; "
                f"{kept}; leave these recordings out, or lower --lr, or use --precision float32"
            ),
        )

    def _stop(self, signal_number: int) -> None:
        if not self._bad:
            self._checkpoint()
        self.fabric.barrier()
        name = signal.Signals(signal_number).name
        raise fail(
            self.fabric,
            StoppedBySignalError(
                f"stopped by {name} after step {self.state.step}; {self.folder / LAST} holds step "
                f"{self._kept_step}: go on with --resume",
                signal_number,
            ),
        )


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
