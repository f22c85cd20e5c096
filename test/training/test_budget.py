from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.budget import Budget, Schedule


def test_cosine_over_steps_is_torch_s() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 37)
    budget, schedule = Budget(steps=37), Schedule(0.3)
    for step in range(37):
        assert schedule.at(budget.share(step, 99.0)) == pytest.approx(
            optimiser.param_groups[0]["lr"]
        )
        optimiser.step()
        reference.step()
    assert schedule.at(1.0) == pytest.approx(0, abs=1e-12)


def test_the_budget_that_is_used_up_first_counts() -> None:
    budget = Budget(steps=100, minutes=2)
    assert budget.share(10, 90) == 0.75
    assert budget.share(80, 90) == 0.8
    assert budget.share(101, 0) == 1.0


def test_warm_up_rises_to_the_highest_rate_and_never_stands_still() -> None:
    schedule = Schedule(1.0, warmup=0.2)
    rates = [schedule.at(share / 100) for share in range(101)]
    assert rates[0] > 0
    assert max(rates) == schedule.at(0.2) == 1.0
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert Schedule(0.5, "constant", 0.1).at(0.9) == 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(),
        lambda: Budget(steps=0),
        lambda: Budget(minutes=0),
        lambda: Budget(minutes=float("inf")),
        lambda: Schedule(0),
        lambda: Schedule(1, "linear"),
        lambda: Schedule(1, warmup=1),
    ],
)
def test_values_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]
