"""Samples by number: what a run reads is a function of its seed and a counter, nothing else.

Sample n of a run is the same whatever the number of processes and loading workers, and however
often the run was interrupted. Step i reads the samples i * B to (i + 1) * B - 1; with W processes
each takes the next B / W of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from dino_foresight_ros.errors import InputError, UsageError

_STREAMS = {"order": 0, "sample": 1, "step": 2}


def random_generator(seed: int, counter: int, stream: str = "sample") -> np.random.Generator:
    """Random numbers that depend on the seed, the counter and the stream's name alone."""
    return np.random.Generator(
        np.random.Philox(key=seed, counter=[0, 0, _STREAMS[stream], counter])
    )


class Samples(Protocol):
    """Samples numbered 0, 1, 2, ... without end; a picklable object.

    An item is a dict of tensors (stacked to a batch) and strings (collected in a list); "source"
    names the recording and the moment, for messages. Equal numbers give equal items.
    """

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return sample `number`."""
        ...


class Epochs:
    """Makes Samples of a map-style dataset: every item once per epoch, in a new random order.

    A dataset that has `set_epoch` is told the epoch first; its items may depend on it.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        if len(dataset) == 0:
            raise InputError("there is nothing to train on: the dataset is empty")
        self.dataset, self.seed = dataset, seed
        self._epoch: int | None = None

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return sample `number`."""
        epoch, place = divmod(number, len(self.dataset))
        if epoch != self._epoch and hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        self._epoch = epoch
        item: dict[str, Any] = self.dataset[
            int(shuffled(len(self.dataset), self.seed, epoch)[place])
        ]
        return item


@lru_cache(maxsize=8)
def shuffled(length: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of an epoch: a permutation of 0 to length - 1, int64."""
    return random_generator(seed, epoch, "order").permutation(length)


def step_numbers(
    first_step: int, batch_size: int, micro_batches: int, rank: int, world: int
) -> Iterator[list[int]]:
    """Yield the sample numbers of every micro-batch of one process, from `first_step` on.

    Raises:
        UsageError: a batch that does not split evenly.
    """
    size, rest = divmod(batch_size, world * micro_batches)
    if size < 1 or rest:
        raise UsageError(
            f"batch size {batch_size} does not split into {world} process(es) x {micro_batches} "
            f"accumulated part(s); use a multiple of {world * micro_batches}"
        )
    return _numbers(first_step, batch_size, micro_batches, rank, size)


def _numbers(step: int, batch_size: int, parts: int, rank: int, size: int) -> Iterator[list[int]]:
    while True:
        start = step * batch_size + rank * parts * size
        for part in range(parts):
            yield list(range(start + part * size, start + (part + 1) * size))
        step += 1
