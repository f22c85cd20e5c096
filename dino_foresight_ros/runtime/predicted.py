"""What the engine has predicted and not decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from dino_foresight_ros.runtime.frame import CameraResult
from dino_foresight_ros.runtime.out_of_memory import retry_out_of_memory
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.runtime.rollout import Chunk


class Batch(NamedTuple):
    """Cameras that are forecast together.

    Attributes:
        requests: camera -> what is wanted of it.
        stamps_ns: camera -> stamps of its context frames, oldest first.
        ahead_s: horizons of step 1, 2, ..., seconds.
        chunks: gives the predicted frames; predicts them anew at each call, or gives what was.
    """

    requests: dict[str, OutputRequest]
    stamps_ns: dict[str, tuple[int, ...]]
    ahead_s: tuple[float, ...]
    chunks: Callable[[], Iterable[Chunk]]

    def predicted(self) -> Batch:
        """The same, with what is predicted computed now."""
        chunks = retry_out_of_memory(lambda: list(self.chunks()))
        return self._replace(chunks=lambda: chunks)


class Predicted(NamedTuple):
    """Frames of several cameras on their way through the engine.

    Attributes:
        results: camera -> what became of its frame; forecasts are to follow.
        batches: what they are made from; empty where there is nothing left to do.
        spent_s: seconds of work so far.
    """

    results: dict[str, CameraResult]
    batches: list[Batch]
    spent_s: float
