from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from toy_training import ToyObjective, ToySamples, toy_evaluation, toy_recipe

from dino_foresight_ros.errors import BundleError, ForesightError, InputError
from dino_foresight_ros.training import loop
from dino_foresight_ros.training.loop import run_training
from dino_foresight_ros.training.objective import Evaluation, Loss
from dino_foresight_ros.training.optimisation import averaged_copy
from dino_foresight_ros.training.processes import alone
from dino_foresight_ros.training.run_log import read_history

ALONE = alone()


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_history(folder, "train")]


def weights(objective: ToyObjective) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in objective.model.parameters()])


def test_losses_and_weights_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    objective, plain = ToyObjective(), ToyObjective()
    run_training(objective, ToySamples(), toy_recipe(12), tmp_path, ALONE)

    samples, expected = ToySamples(), []
    adam = torch.optim.Adam(plain.model.parameters(), lr=1e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 12)
    for step in range(12):
        rows = [samples[step * 16 + i] for i in range(16)]
        batch = {k: torch.stack([row[k] for row in rows]) for k in ("x", "y", "terms")}
        adam.zero_grad()
        loss = plain(batch).value
        loss.backward()
        nn.utils.clip_grad_norm_(plain.model.parameters(), 1.0)
        adam.step()
        cosine.step()
        expected.append(float(loss.detach()))

    assert losses(tmp_path) == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(weights(objective), weights(plain), atol=1e-6)


def test_accumulated_parts_with_unequal_numbers_of_terms_give_the_whole_batch_losses(
    tmp_path: Path,
) -> None:
    for accumulate in (1, 8):
        run_training(
            ToyObjective(),
            ToySamples(),
            toy_recipe(10, accumulate=accumulate),
            tmp_path / str(accumulate),
            ALONE,
        )

    assert losses(tmp_path / "8") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)


class KilledError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_resumed_run_has_the_losses_of_one_that_was_never_interrupted(
    tmp_path: Path, precision: str
) -> None:
    config = toy_recipe(20, precision=precision, ema=0.9, accumulate=2, checkpoint_every_s=0)
    calls = 0

    def dies_at_the_second(model: nn.Module) -> Evaluation:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KilledError
        return toy_evaluation(model)

    straight = ToyObjective(dropout=0.5)
    whole = run_training(
        straight,
        ToySamples(),
        config,
        tmp_path / "a",
        alone(precision=precision),
        evaluate=toy_evaluation,
    )
    with pytest.raises(KilledError):
        run_training(
            ToyObjective(dropout=0.5), ToySamples(), config, tmp_path / "b",
            alone(precision=precision), evaluate=dies_at_the_second,
        )  # fmt: skip
    # Other numbers come out of the global generator now, and other weights are there at first.
    torch.rand(7)
    resumed = ToyObjective(dropout=0.5, seed=99)
    rest = run_training(
        resumed,
        ToySamples(),
        config,
        tmp_path / "b",
        alone(precision=precision),
        evaluate=toy_evaluation,
        resume=True,
    )

    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert torch.equal(weights(straight), weights(resumed))
    assert whole.best_step == rest.best_step
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (load_file(tmp_path / run / name) for run in "ab")
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert set(a) == set(b)


@pytest.mark.slow
def test_validations_of_a_resumed_run_are_listed_once(tmp_path: Path) -> None:
    config = toy_recipe(8, checkpoint_every_s=0)
    run_training(ToyObjective(), ToySamples(), config, tmp_path, ALONE, evaluate=toy_evaluation)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 9, "kind": "train", "los')  # as a killed process leaves it
    longer = toy_recipe(16, checkpoint_every_s=0)
    run_training(
        ToyObjective(), ToySamples(), longer, tmp_path, ALONE, evaluate=toy_evaluation, resume=True
    )

    assert [row["step"] for row in read_history(tmp_path, "train")] == list(range(1, 17))
    steps = [row["step"] for row in read_history(tmp_path, "validation")]
    assert steps == sorted(set(steps)) == [2, 4, 6, 8, 12, 16]


def test_best_weights_are_those_of_the_highest_score(tmp_path: Path) -> None:
    scores = iter([1.0, 3.0, float("nan"), 2.0])
    seen: list[torch.Tensor] = []
    published: list[int] = []

    def evaluate(model: nn.Module) -> Evaluation:
        seen.append(model.state_dict()["0.weight"].clone())
        return Evaluation(next(scores), {}, "")

    result = run_training(
        ToyObjective(), ToySamples(), toy_recipe(8), tmp_path, ALONE,
        evaluate=evaluate, publish=lambda weights, state, found: published.append(state.step),
    )  # fmt: skip

    assert result.best_step == 4
    assert published == [2, 4]
    assert torch.equal(load_file(tmp_path / "best.safetensors")["0.weight"], seen[1])


def test_averaged_weights_are_evaluated_and_kept_while_the_model_trains_on(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def evaluate(model: nn.Module) -> Evaluation:
        seen.append(model.state_dict()["0.weight"].clone())
        return Evaluation(0.0, {}, "")

    averaged = toy_recipe(1, ema=0.9, evaluations=1)
    objective, start = ToyObjective(), ToyObjective().model.state_dict()["0.weight"]
    run_training(objective, ToySamples(), averaged, tmp_path, ALONE, evaluate=evaluate)

    after = objective.model.state_dict()["0.weight"]
    decay = 2 / 11  # the first average is short: (1 + 1) / (10 + 1), not 0.9
    assert torch.allclose(seen[0], decay * start + (1 - decay) * after)
    assert not torch.allclose(seen[0], after)


def test_average_of_constant_weights_is_constant_and_integers_are_copied() -> None:
    model = nn.BatchNorm1d(4)
    averaged = averaged_copy(model, 0.99)
    model.num_batches_tracked += 5
    for step in range(10):
        averaged.n_averaged.fill_(step + 1)
        averaged.update_parameters(model)

    assert torch.equal(averaged.module.weight, model.weight)
    assert int(averaged.module.num_batches_tracked) == 5


@pytest.mark.slow
def test_a_budget_of_minutes_ends_in_time_with_the_learning_rate_near_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by 0.16 s in each forward pass."""
    steps = itertools.count(1)
    now_s = 0.0

    def forward(objective: ToyObjective, batch: dict[str, Any]) -> Loss:
        nonlocal now_s
        now_s = 0.16 * next(steps)
        return compute(objective, batch)

    compute = ToyObjective.forward
    monkeypatch.setattr(ToyObjective, "forward", forward)
    clock = SimpleNamespace(monotonic=lambda: now_s, perf_counter=lambda: now_s)
    monkeypatch.setattr(loop, "time", clock)
    config = toy_recipe(minutes=0.2, lr=1.0)
    result = run_training(ToyObjective(), ToySamples(), config, tmp_path, ALONE)

    rates = [row["lr"] for row in read_history(tmp_path, "train")]
    assert result.elapsed_s == pytest.approx(12.0)
    assert rates[0] > 0.99
    assert rates[-1] < 0.2
    assert all(a >= b for a, b in itertools.pairwise(rates))


@pytest.mark.slow
def test_nan_stops_after_three_steps_names_rows_and_keeps_good_weights(tmp_path: Path) -> None:
    broken = tuple(range(5 * 16 + 3, 8 * 16, 16))
    with pytest.raises(ForesightError, match="steps 6 to 8") as caught:
        run_training(ToyObjective(), ToySamples(broken), toy_recipe(20), tmp_path, ALONE)

    assert "row 115 (holds NaN or infinity)" in str(caught.value)
    assert "row 116" not in str(caught.value)
    assert "\n" not in str(caught.value)
    tensors = load_file(tmp_path / "last.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    # The rows are mended: the run goes on as if nothing had been wrong with them.
    run_training(ToyObjective(), ToySamples(), toy_recipe(20), tmp_path, ALONE, resume=True)
    run_training(ToyObjective(), ToySamples(), toy_recipe(20), tmp_path / "whole", ALONE)
    assert losses(tmp_path) == losses(tmp_path / "whole")


def test_two_bad_steps_in_a_row_are_skipped_and_spoil_nothing(tmp_path: Path) -> None:
    objective = ToyObjective(batch_norm=True)
    samples = ToySamples(broken=(16 * 3, 16 * 4, 16 * 6))
    result = run_training(objective, samples, toy_recipe(10), tmp_path, ALONE)

    assert result.steps == 10
    state = objective.model.state_dict()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_a_run_that_diverges_keeps_its_older_checkpoint(tmp_path: Path) -> None:
    run_training(ToyObjective(), ToySamples(), toy_recipe(6), tmp_path, ALONE)
    good = load_file(tmp_path / "last.safetensors")
    # One step of that length, and every loss after it is infinite.
    far = toy_recipe(50, checkpoint_every_s=0, lr=1e25, schedule="constant")
    with pytest.raises(ForesightError, match="good weights of step 6"):
        run_training(ToyObjective(), ToySamples(), far, tmp_path, ALONE, resume=True)

    kept = load_file(tmp_path / "last.safetensors")
    assert set(kept) == set(good)
    assert all(torch.equal(kept[name], good[name]) for name in good)


def test_the_initial_weights_are_kept_where_the_first_steps_are_bad(tmp_path: Path) -> None:
    with pytest.raises(ForesightError, match="good weights of step 0"):
        run_training(ToyObjective(), ToySamples(tuple(range(1000))), toy_recipe(9), tmp_path, ALONE)

    tensors = load_file(tmp_path / "last.safetensors")
    assert torch.equal(tensors["model.0.weight"], ToyObjective().model.state_dict()["0.weight"])


@pytest.mark.process
def test_an_error_of_the_data_is_raised_as_it_is(tmp_path: Path) -> None:
    class Broken(ToySamples):
        def __getitem__(self, number: int) -> dict[str, object]:
            if number == 40:
                raise InputError("drive.mp4: frame 40 cannot be read")
            return super().__getitem__(number)

    for workers in (0, 1):
        folder = tmp_path / str(workers)
        config = toy_recipe(9, workers=workers)
        with pytest.raises(InputError) as caught:
            run_training(ToyObjective(), Broken(), config, folder, ALONE)
        assert str(caught.value) == "drive.mp4: frame 40 cannot be read"


@pytest.mark.process
def test_loading_workers_change_nothing(tmp_path: Path) -> None:
    for workers in (0, 2):
        run_training(
            ToyObjective(dropout=0.3), ToySamples(), toy_recipe(6, workers=workers),
            tmp_path / str(workers), ALONE,
        )  # fmt: skip

    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_waiting_for_slow_data_is_measured(tmp_path: Path) -> None:
    slow = run_training(
        ToyObjective(), ToySamples(delay_s=0.004), toy_recipe(6), tmp_path / "slow", ALONE
    )

    # Half of it and more, where the machine does nothing else.
    assert slow.wait_fraction > 0.2
    assert read_history(tmp_path / "slow", "train")[-1]["wait_fraction"] > 0.2


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run_training(ToyObjective(), ToySamples(), toy_recipe(2), tmp_path, ALONE)
    other = ToyObjective(batch_norm=True)
    with pytest.raises(BundleError, match=r"is missing|expects"):
        run_training(other, ToySamples(), toy_recipe(4), tmp_path, ALONE, resume=True)
