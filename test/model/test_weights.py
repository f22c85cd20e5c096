from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.model.weights import all_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, torch.finfo(torch.half).max])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(
    dtype: torch.dtype, value: float
) -> None:
    for place in (0, 17, 34):
        tensor = torch.linspace(-3, 3, 35, dtype=torch.float32).to(dtype).reshape(5, 7)
        assert all_finite(tensor)
        tensor.view(-1)[place] = value
        assert all_finite(tensor) == bool(torch.isfinite(tensor).all())


def test_whole_numbers_and_nothing_are_finite() -> None:
    assert all_finite(torch.tensor([1, 2**60]))
    assert all_finite(torch.empty(0, 3))
