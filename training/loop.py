"""The training loop: a budget, steps, exact resume, and trouble on the way.

It knows nothing of what is trained. `run_training` takes an `Objective` (a module and its loss) and
`Samples` (numbered without end), and makes steps until the budget is used up. `optimisation` makes
one step; Lightning Fabric places the module, averages gradients between processes, and does mixed
precision and clipping.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dino_foresight_ros.errors import ForesightError

from .batches import Batches
from .checkpoint import BEST, LAST, RunState, read_checkpoint, save_checkpoint, whole, write_file
from .fabric_import import Fabric
from .interrupts import StoppedBySignalError, signals_noted
from .objective import Evaluate, Evaluation, Objective, Publish, RunResult
from .optimisation import Optimisation, Outcome
from .processes import fail, gather
from .recipes import TrainingRecipe
from .run_log import RunLog
from .sampling import Samples, step_numbers

BAD_STEPS = 3
"""Steps in a row whose loss is not finite, after which a run stops."""


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
        self.state = RunState()
        self.evaluate: Evaluate | None = None
        self.publish: Publish | None = None
        self.best: Evaluation | None = None
        self._bad = 0
        self._kept_step: int | None = None
        self._steps_s = self._waited_s = 0.0
        self._loss = math.nan

    def set_up(self, resume: bool) -> None:
        """Take up where last.safetensors stands, place everything, and make the optimiser."""
        saved = read_checkpoint(self.folder / LAST) if resume else None
        if saved is not None:
            self.state = saved.state
            self._kept_step = self.state.step
        self.optimisation = Optimisation(self.objective, self.recipe, self.fabric, saved)
        self._next_checkpoint_s = self.state.elapsed_s + self.recipe.checkpoint_every_s

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

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    def _one_step(self, batches: Batches, log: RunLog, asked: list[int]) -> None:
        state, recipe = self.state, self.recipe
        used = recipe.used(state.step, state.elapsed_s)
        lr = recipe.learning_rate(used)
        start, waited = time.perf_counter(), batches.waited_s
        parts = [next(batches) for _ in range(recipe.accumulate)]
        outcome = self.optimisation.step(
            state.step, parts, lr, asked[-1] if asked else 0, self._elapsed_s
        )
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
        state, model = self.state, self.optimisation.shown_model
        model.eval()
        with self.optimisation.unsharded(), torch.no_grad(), self.fabric.autocast():
            found = evaluate(model)
        with self._telling_what_is_kept():
            log.values(state.step, "validation", {**found.values, "score": found.score})
        log.note(found.summary)
        is_best = state.best_score is None or found.score > state.best_score
        if math.isfinite(found.score) and is_best:
            self.best = found
            state.best_score, state.best_step = found.score, state.step
            self._keep_best(found)

    def _keep_best(self, found: Evaluation | None) -> None:
        weights = {n: whole(t) for n, t in self.optimisation.shown_model.state_dict().items()}
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
        made = self.optimisation
        if not made.weights_are_sound():
            return
        if made.scaler is not None:
            self.state.scaler = made.scaler.state_dict()
        averaged = None if made.averaged is None else made.averaged.module
        path = self.folder / LAST if self.fabric.is_global_zero else None
        with self._telling_what_is_kept():
            save_checkpoint(path, made.model, made.adam, averaged, self.state)
        self._kept_step = self.state.step

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
        found = [
            name for names in gather(self.fabric, self.optimisation.bad_sources) for name in names
        ]
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
