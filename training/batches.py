"""Batches prepared ahead of the computation, and how long the computation waited for them."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from dino_foresight_ros.errors import ForesightError

from .objective import Batch
from .sampling import Samples

_DEPTH = 3


class Guarded(Dataset[Any]):
    """Hands errors over as values: a loading worker would wrap their one line in a traceback."""

    def __init__(self, samples: Samples | Dataset[dict[str, Any]]) -> None:
        self.samples = samples

    def __getitem__(self, number: int) -> Any:
        try:
            return self.samples[number]
        except ForesightError as error:
            return error


def collate(items: list[Any]) -> Any:
    """Stack items of `Guarded`; the first error instead, where there is one."""
    for item in items:
        if isinstance(item, ForesightError):
            return item
    return default_collate(items)


def leave_interrupts_to_parent(worker: int) -> None:
    """Start a loading worker: Ctrl-C is for the process that it works for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Batches:
    """Iterates over collated batches that a thread, and worker processes, prepare ahead.

    Attributes:
        waited_s: seconds that `next` has blocked so far, without the first batch.
    """

    def __init__(
        self,
        samples: Samples,
        numbers: Iterable[list[int]],
        workers: int = 0,
        device: torch.device | None = None,
    ) -> None:
        """Start preparing.

        Args:
            samples: where items come from.
            numbers: the sample numbers of each batch.
            workers: processes that read; 0 reads in the thread.
            device: where the tensors go.
        """
        self.device = device or torch.device("cpu")
        self.waited_s = 0.0
        self._first = True
        loader: DataLoader[Any] = DataLoader(
            Guarded(samples),
            batch_sampler=numbers,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=leave_interrupts_to_parent,
            # Else it would draw from the global generator, on which dropout depends.
            generator=torch.Generator(),
        )
        self._queue: queue.Queue[Any] = queue.Queue(_DEPTH)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(loader,), daemon=True)
        self._thread.start()

    def _fill(self, loader: DataLoader[Any]) -> None:
        try:
            for batch in loader:
                if isinstance(batch, dict) and self.device.type == "cuda":
                    batch = {k: v.pin_memory() if _is_tensor(v) else v for k, v in batch.items()}
                if not self._put(batch):
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001  (raised where the batch is asked for)
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._closing.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        item = self._queue.get()
        if not self._first:
            self.waited_s += time.perf_counter() - start
        self._first = False
        if item is None:
            self._queue.put(None)
            raise StopIteration
        if isinstance(item, Exception):
            self._queue.put(item)
            raise item
        return {
            k: v.to(self.device, non_blocking=True) if _is_tensor(v) else v for k, v in item.items()
        }

    def close(self) -> None:
        """Stop preparing."""
        self._closing.set()
        self._thread.join(timeout=10)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def sources(batch: Batch) -> list[str]:
    """Name the samples of a batch, those that hold NaN or infinity alone where there are any."""
    names = [str(name) for name in batch.get("source", [])]
    floats = [v for v in batch.values() if _is_tensor(v) and v.is_floating_point() and v.ndim]
    broken = [
        name
        for i, name in enumerate(names)
        if any(len(v) == len(names) and not bool(torch.isfinite(v[i]).all()) for v in floats)
    ]
    return [f"{name} (holds NaN or infinity)" for name in broken] or names
