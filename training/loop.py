"""A training loop: budget, checkpoints that go on exactly, evaluation, and trouble on the way.

It knows nothing of what is trained. `run_training` takes an `Objective` (a module and its loss) and
`Samples` (numbered without end), and makes steps until the budget is used up. Under several
processes (torchrun, or `distributed.launch`) gradients are averaged by PyTorch's own DDP.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from torch import no_grad

from dino_foresight_ros.errors import ForesightError

from .batches import Batches
from .checkpoint import BEST, LAST, RunState, load_checkpoint, save_checkpoint, write_file
from .distributed import Processes
from .interrupts import StoppedBySignalError, signals_noted
from .loop_config import Evaluate, Evaluation, LoopConfig, Publish, RunResult
from .run_log import RunLog
from .sampling import Samples, step_numbers
from .stepping import Objective, Outcome, Stepper

__all__ = ["Evaluation", "LoopConfig", "RunResult", "StoppedBySignalError", "run_training"]

BAD_STEPS = 3
"""Steps in a row whose loss is not finite, after which a run stops."""


def run_training(
    objective: Objective,
    samples: Samples,
    config: LoopConfig,
    folder: Path,
    processes: Processes,
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
        config: how.
        folder: of the run; it holds last.safetensors, best.safetensors, history.jsonl and
            tensorboard/ afterwards.
        processes: from `distributed.joined`.
        evaluate, publish: see `Evaluate` and `Publish`.
        resume: go on from last.safetensors in the folder.
        name: for the progress bar.

    Raises:
        ForesightError: the loss is not finite `BAD_STEPS` times in a row, or the folder cannot be
            written; last.safetensors is whole and good.
        StoppedBySignalError: SIGINT or SIGTERM came; the step was finished and
            last.safetensors written.
    """
    loop = _Loop(objective, samples, config, folder, processes, name)
    loop.evaluate, loop.publish = evaluate, publish
    if resume:
        loop.restore()
    with signals_noted() as asked:
        return loop.run(asked)


class _Loop:
    def __init__(
        self,
        objective: Objective,
        samples: Samples,
        config: LoopConfig,
        folder: Path,
        processes: Processes,
        name: str,
    ) -> None:
        self.config, self.folder, self.processes, self.name = config, folder, processes, name
        self.samples = samples
        self.stepper = Stepper(objective, config.stepping, processes, config.seed)
        self.model = objective.model
        self.state = RunState()
        self.evaluate: Evaluate | None = None
        self.publish: Publish | None = None
        self.best: Evaluation | None = None
        self._bad = 0
        self._kept_step: int | None = None
        self._steps_s = self._waited_s = 0.0
        self._loss = math.nan
        self._next_checkpoint = time.monotonic() + config.checkpoint_every_s

    def restore(self) -> None:
        """Take up where last.safetensors stands."""
        path = self.folder / LAST
        averaged, self.state = load_checkpoint(path, self.model, self.stepper.optimiser)
        self._kept_step = self.state.step
        if self.stepper.averaged is not None:
            self.stepper.averaged.restore(averaged)
        if self.state.scaler and self.stepper.scaler.is_enabled():
            self.stepper.scaler.load_state_dict(self.state.scaler)

    def run(self, asked: list[int]) -> RunResult:
        """Make steps until the budget is used up; `asked` gets the signals that come."""
        config, state, processes = self.config, self.state, self.processes
        parts = config.stepping.accumulate
        numbers = step_numbers(
            state.step, config.batch_size, parts, processes.rank, processes.world
        )
        log = RunLog(self.folder, self.name, processes.is_main, state.step)
        batches = Batches(self.samples, numbers, config.workers, processes.device)
        self._clock = time.monotonic() - state.elapsed_s
        try:
            while config.budget.share(state.step, state.elapsed_s) < 1:
                self._one_step(batches, log, asked)
            self._end(log)
        finally:
            batches.close()
            log.close()
        share = self._waited_s / self._steps_s if self._steps_s else 0.0
        return RunResult(state.step, state.elapsed_s, self._loss, self.best, state.best_step, share)

    def _one_step(self, batches: Batches, log: RunLog, asked: list[int]) -> None:
        state, budget = self.state, self.config.budget
        share = budget.share(state.step, state.elapsed_s)
        lr = self.config.schedule.at(share)
        start, waited = time.perf_counter(), batches.waited_s
        parts = [next(batches) for _ in range(self.config.stepping.accumulate)]
        stop = asked[-1] if asked else 0
        outcome = self.stepper.step(state.step, parts, lr, stop, time.monotonic() - self._clock)
        duration = time.perf_counter() - start
        self._steps_s += duration
        self._waited_s += batches.waited_s - waited
        self._check(outcome)
        state.step += 1
        state.elapsed_s = outcome.elapsed_s
        after = budget.share(state.step, state.elapsed_s)
        if not outcome.is_bad:
            self._loss = outcome.loss
        self._log_step(log, outcome, lr, duration)
        log.progress(after, state.step, outcome.loss, duration)
        self._after_step(share, after, log)
        if outcome.stop:
            self._stop(outcome.stop)

    def _log_step(self, log: RunLog, outcome: Outcome, lr: float, duration: float) -> None:
        if self.state.step % self.config.log_every and self.state.step != 1:
            return
        values = {
            "loss": outcome.loss,
            "lr": lr,
            "gradient_norm": outcome.gradient_norm,
            "step_s": duration,
            "wait_share": self._waited_s / self._steps_s,
        }
        with self._kept():
            log.values(self.state.step, "train", values)

    def _after_step(self, before: float, after: float, log: RunLog) -> None:
        """Evaluate and keep a checkpoint where it is time; not while the loss is not finite."""
        if self._bad:
            return
        evaluations = self.config.evaluations
        is_time = math.floor(after * evaluations) > math.floor(before * evaluations)
        if is_time and self.evaluate is not None:
            self._evaluate(log)
        if (is_time or time.monotonic() >= self._next_checkpoint) and after < 1:
            self._checkpoint()

    def _evaluate(self, log: RunLog) -> None:
        assert self.evaluate is not None
        averaged, state = self.stepper.averaged, self.state
        self.model.eval()
        applied = averaged.applied_to(self.model) if averaged else nullcontext()
        with applied, no_grad(), self.stepper.autocast():
            found = self.evaluate(self.model)
            with self._kept():
                log.values(state.step, "validation", {**found.values, "score": found.score})
            log.note(found.summary)
            is_best = state.best_score is None or found.score > state.best_score
            if math.isfinite(found.score) and is_best:
                self.best = found
                state.best_score, state.best_step = found.score, state.step
                self._keep_best(found)

    def _keep_best(self, found: Evaluation | None) -> None:
        if not self.processes.is_main:
            return
        with self._kept():
            self._write_best(found)

    def _write_best(self, found: Evaluation | None) -> None:
        weights = self.model.state_dict()
        note = {"step": str(self.state.step), "score": str(self.state.best_score)}
        write_file(self.folder / BEST, weights, note)
        if self.publish is not None:
            self.publish(weights, self.state, found)

    def _checkpoint(self) -> None:
        """Replace last.safetensors, unless the newest step has ruined the weights."""
        self._next_checkpoint = time.monotonic() + self.config.checkpoint_every_s
        if not self.processes.is_main or not self.stepper.weights_are_sound():
            return
        self.state.scaler = self.stepper.scaler.state_dict()
        averaged = self.stepper.averaged.state if self.stepper.averaged else None
        with self._kept():
            save_checkpoint(
                self.folder / LAST, self.model, self.stepper.optimiser, averaged, self.state
            )
        self._kept_step = self.state.step

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Tell of a write that failed what is still there."""
        try:
            yield
        except ForesightError as error:
            kept = "there is no checkpoint yet"
            if self._kept_step is not None:
                kept = f"the checkpoint of step {self._kept_step} is whole: go on with --resume"
            raise ForesightError(f"{error}; {kept}, after making room") from error

    def _end(self, log: RunLog) -> None:
        if self.state.best_step is None:
            averaged = self.stepper.averaged
            with averaged.applied_to(self.model) if averaged else nullcontext():
                self._keep_best(None)
        self._checkpoint()
        self.processes.barrier()

    def _check(self, outcome: Outcome) -> None:
        """Count steps whose loss is not finite, and stop after a few.

        Raises:
            ForesightError: too many in a row.
        """
        self._bad = self._bad + 1 if outcome.is_bad else 0
        if self._bad < BAD_STEPS:
            return
        suspects = [
            name for names in self.processes.gather(self.stepper.suspects) for name in names
        ]
        first = self.state.step - BAD_STEPS + 1
        kept = "no weights were kept"
        # A resumed run meets the same batches again: after the recordings were mended.
        self.state.step = first
        self._checkpoint()
        if self._kept_step is not None:
            kept = f"the good weights of step {self._kept_step} are in {self.folder / LAST}"
        unique = list(dict.fromkeys(suspects))
        shown = ", ".join(unique[:4]) + (f" and {len(unique) - 4} more" if len(unique) > 4 else "")
        raise self.processes.fail(
            ForesightError(
                f"the loss was not finite {BAD_STEPS} times in a row, in steps {first + 1} to "
                f"{first + BAD_STEPS}; the last of these batches held {shown or 'finite values'}; "
                f"{kept}; leave these recordings out, or lower --lr, or use --precision float32"
            )
        )

    def _stop(self, signal_number: int) -> None:
        if not self._bad:
            self._checkpoint()
        self.processes.barrier()
        name = signal.Signals(signal_number).name
        raise self.processes.fail(
            StoppedBySignalError(
                f"stopped by {name} after step {self.state.step}; {self.folder / LAST} holds step "
                f"{self._kept_step}: go on with --resume",
                signal_number,
            )
        )
