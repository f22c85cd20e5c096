"""Out of memory: freed and tried once more, then an error of its own, and the engine lives on."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Foresight, out_of_memory
from dino_foresight_ros.runtime.out_of_memory import (
    DeviceMemoryError,
    is_out_of_memory,
    retry_out_of_memory,
)

INTERVAL_NS = 200_000_000
TOO_MUCH = 1 << 60


def frame(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (56, 84, 3), dtype=np.uint8)


class Exhausted:
    """Lets a module's first `failures` passes after `start` fail by a real failed allocation."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.failures = 0
        module.register_forward_pre_hook(self)

    def __call__(self, *_: Any) -> None:
        if self.failures:
            self.failures -= 1
            torch.empty(TOO_MUCH, dtype=torch.uint8)


def test_a_failed_allocation_is_told_from_other_errors() -> None:
    with pytest.raises(RuntimeError) as real:
        torch.empty(TOO_MUCH, dtype=torch.uint8)
    assert is_out_of_memory(real.value)
    with pytest.raises(MemoryError) as numpys:
        np.empty(TOO_MUCH, np.uint8)
    assert is_out_of_memory(numpys.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_failed_run_is_let_go_before_memory_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive_when_freed: list[bool] = []

    def look() -> None:
        alive_when_freed.append(held[0]() is not None)

    def work() -> int:
        if held:
            return 7
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(out_of_memory, "give_back_memory", look)
    assert retry_out_of_memory(work) == 7
    assert alive_when_freed == [False]


def test_other_errors_are_not_retried() -> None:
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        retry_out_of_memory(work)
    assert len(runs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("part", ["encoder", "forecaster"])
def test_one_failure_changes_no_forecast_and_two_are_an_error(
    part: str, fresh_bundle: Bundle, bundle: Bundle
) -> None:
    """Whether it happens before or after the frame went into the context."""
    damaged, whole = Foresight(fresh_bundle, steps=2), Foresight(bundle, steps=2)
    inner = fresh_bundle.encoder if part == "encoder" else fresh_bundle.forecaster.out
    exhausted = Exhausted(inner)
    for index in range(4):
        expected = whole.update(frame(index), index * INTERVAL_NS)
        exhausted.failures = 1
        found = damaged.update(frame(index), index * INTERVAL_NS)
    assert exhausted.failures == 0
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.steps[1].depth, expected.steps[1].depth)
    exhausted.failures = 2
    with pytest.raises(DeviceMemoryError, match="out of memory, also after freeing"):
        damaged.update(frame(4), 4 * INTERVAL_NS)
    assert exhausted.failures == 0
    # Without the failed frame, or with it: the next forecasts are those of a fresh engine.
    for index in range(5, 9):
        expected = whole.update(frame(index), index * INTERVAL_NS)
        found = damaged.update(frame(index), index * INTERVAL_NS)
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.steps[1].depth, expected.steps[1].depth)
