"""A camera's frame on its way to the engine, with all that is needed to work at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime.request import OutputRequest


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame as it came, not decoded yet.

    Attributes:
        payload: the picture, as the sender has it.
        stamp_ns: its time stamp, nanoseconds.
        received_s: when it came in, seconds of the scheduler's running clock.
        camera: which one took it; empty where there is only one.
        decode: payload -> (H, W, 3) uint8 RGB; raises InputError for a broken one.
        request: what to compute from it; all that the engine has when None.
        max_age_ns: it is not forecast when it is older in its turn; None for no limit.
        held_back: why it is not to be forecast and serves only the context of later frames; None
            for a frame to forecast.
    """

    payload: Any
    stamp_ns: int
    received_s: float
    camera: str = ""
    decode: Callable[[Any], np.ndarray] = np.asarray
    request: OutputRequest | None = None
    max_age_ns: int | None = None
    held_back: DropReason | None = None

    @property
    def reason_unused(self) -> DropReason:
        """What it is dropped for when it is used for nothing."""
        return self.held_back or DropReason.SUPERSEDED
