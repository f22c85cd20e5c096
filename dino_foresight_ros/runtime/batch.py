"""Cameras that are forecast together: what is asked of each, and from what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dino_foresight_ros.model import FrameMemory
from dino_foresight_ros.runtime.context import ContextBuffer
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.stamps import NS_PER_S


class Context(NamedTuple):
    """What one camera's forecasts are made from, as it is now; later frames do not change it.

    Attributes:
        stamps_ns: of the context frames, oldest first.
        memories: (1, N_c, ...) of them.
        stamps_s: (1, N_c) float64, seconds from the newest.
        newest: (1, h, w, C) features of the newest.
    """

    stamps_ns: tuple[int, ...]
    memories: FrameMemory
    stamps_s: Tensor
    newest: Tensor

    @classmethod
    def of(cls, buffer: ContextBuffer, newest: Tensor) -> Context | None:
        """A copy of what a buffer holds; None while it fills.

        Args:
            buffer: of a camera.
            newest: (h, w, C) features of its newest frame.
        """
        memories, stamps_ns = buffer.context(), buffer.context_stamps()
        if memories is None or stamps_ns is None:
            return None
        before_s = seconds([stamp_ns - stamps_ns[-1] for stamp_ns in stamps_ns])
        return cls(stamps_ns, tuple(m[None] for m in memories), before_s[None], newest[None])


class Batch(NamedTuple):
    """Cameras of which the same horizons and samples are wanted, B of them.

    Attributes:
        requests: camera -> what is wanted of it.
        contexts: of each camera, of the same number of frames.
        ahead_s: horizons of step 1, 2, ..., seconds.
        samples: how many futures to draw.
    """

    requests: dict[str, OutputRequest]
    contexts: dict[str, Context]
    ahead_s: tuple[float, ...]
    samples: int

    @property
    def memories(self) -> FrameMemory:
        """(B, N_c, ...) of the context frames."""
        each = zip(*(context.memories for context in self.contexts.values()), strict=True)
        return tuple(torch.cat(parts) for parts in each)

    @property
    def stamps_s(self) -> Tensor:
        """(B, N_c) float64, seconds from each camera's newest frame."""
        return torch.cat([context.stamps_s for context in self.contexts.values()])

    @property
    def newest(self) -> Tensor:
        """(B, h, w, C) features of the newest frames."""
        return torch.cat([context.newest for context in self.contexts.values()])

    @property
    def motion(self) -> Tensor | None:
        """(B, S, 3) float64 with NaN where it is not known; None where no request knows it."""
        requests = list(self.requests.values())
        if all(request.motion is None for request in requests):
            return None
        motion = torch.full((len(requests), len(self.ahead_s), 3), math.nan, dtype=torch.float64)
        for row, request in zip(motion, requests, strict=True):
            known = (request.motion or ())[: len(row)]  # of another camera more steps may be wanted
            row[: len(known)] = torch.tensor(known, dtype=torch.float64).reshape(-1, 3)
        return motion


def batches(
    requests: Mapping[str, OutputRequest],
    contexts: Mapping[str, Context],
    horizons_s: Sequence[float],
    samples: int,
) -> list[Batch]:
    """Put together what can be forecast in one pass.

    Args:
        requests: camera -> what is wanted of it.
        contexts: of the same cameras.
        horizons_s: of step 1, 2, ... where a request has none of its own, seconds.
        samples: how many futures to draw where a request does not say.
    """
    groups: dict[tuple[int, tuple[float, ...], int], list[str]] = {}
    for name, request in requests.items():
        every_s = tuple(horizons_s) if request.ahead_s is None else request.ahead_s
        ahead_s = every_s[: request.last_step(len(every_s))]
        key = len(contexts[name].stamps_ns), ahead_s, request.samples or samples
        groups.setdefault(key, []).append(name)
    return [
        Batch({n: requests[n] for n in names}, {n: contexts[n] for n in names}, ahead_s, drawn)
        for (_, ahead_s, drawn), names in groups.items()
    ]


def seconds(stamps_ns: Sequence[int]) -> Tensor:
    """Stamps as float64 seconds; exact however large, where they are given from the newest."""
    return torch.tensor(stamps_ns, dtype=torch.float64) / NS_PER_S
