"""Names of devices and number formats."""

from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype


def test_auto_takes_a_gpu_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "", "CPU"])
def test_unknown_devices_are_refused_with_the_valid_ones(name: str):
    with pytest.raises(UsageError, match="auto, cpu, cuda, cuda:N"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="does not exist here"):
        resolve_device("cuda:99")


def test_dtypes_by_name():
    cpu = torch.device("cpu")
    assert resolve_dtype("float16", cpu) is torch.float16
    assert resolve_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(UsageError, match="auto, float32, bfloat16, float16"):
        resolve_dtype("int8", cpu)
