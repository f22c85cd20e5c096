"""Names of devices and number formats."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import devices
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype, why_unusable


def test_auto_takes_a_gpu_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "", "CPU"])
def test_unknown_devices_are_refused_with_the_valid_ones(name: str):
    with pytest.raises(UsageError, match="auto, cpu, cuda, cuda:N"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="does not exist here"):
        resolve_device("cuda:99")


NO_KERNEL = (
    "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors "
    "might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, str | None]]:
    """GPUs by index, and what a kernel on each fails with, None where it works."""
    failures: dict[int, str | None] = {}

    def run_kernel(index: int) -> None:
        failure = failures[index]
        if failure is not None:
            raise RuntimeError(failure)

    monkeypatch.setattr(devices, "_run_kernel", run_kernel)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(failures))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GeForce GTX {1080 + i}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    why_unusable.cache_clear()
    yield failures
    why_unusable.cache_clear()


def test_auto_takes_the_cpu_where_torch_has_no_kernels_for_the_gpu(gpus: dict[int, str | None]):
    gpus[0] = NO_KERNEL
    said: list[str] = []
    assert resolve_device("auto", said.append) == torch.device("cpu")
    assert said == [
        f"torch {torch.__version__} has no kernels for GeForce GTX 1080 (cuda:0), which is sm_61; "
        "it has those of sm_75, sm_80; it is not used"
    ]


def test_auto_takes_the_first_gpu_that_computes(gpus: dict[int, str | None]):
    gpus.update({0: "CUDA error: out of memory", 1: None})
    said: list[str] = []
    assert resolve_device("auto", said.append) == torch.device("cuda:1")
    (line,) = said
    assert "GeForce GTX 1080 (cuda:0) gives no result: RuntimeError: CUDA error: out of" in line
    assert resolve_device("cuda:1") == torch.device("cuda:1")


def test_a_gpu_without_kernels_is_refused_where_it_was_asked_for(gpus: dict[int, str | None]):
    gpus[0] = NO_KERNEL
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UsageError, match=r"GTX 1080 .*use device:=cpu") as caught:
            resolve_device(name)
        assert "\n" not in str(caught.value)


def test_dtypes_by_name():
    cpu = torch.device("cpu")
    assert resolve_dtype("float16", cpu) is torch.float16
    assert resolve_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    with pytest.raises(UsageError, match="auto, float32, bfloat16, float16"):
        resolve_dtype("int8", cpu)
