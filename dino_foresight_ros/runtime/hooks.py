"""What the worker needs from outside: an engine, and somebody who decodes and publishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dino_foresight_ros.runtime.camera_frame import CameraFrame, CameraResult
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.mailbox import Frame, Rule
from dino_foresight_ros.runtime.request import OutputRequest


class Engine(Protocol):
    """What the worker needs of `Foresight`."""

    def update_cameras(self, frames: Mapping[str, CameraFrame]) -> Mapping[str, CameraResult]: ...

    def needed(self, camera: str, newest_ns: int, waiting_ns: Sequence[int]) -> list[int]: ...

    def reset(self) -> None: ...

    def context_of(self, camera: str) -> str: ...

    @property
    def context_state(self) -> str: ...

    @property
    def rule(self) -> Rule: ...


@dataclass(frozen=True)
class Hooks:
    """What the worker calls, in its own thread (`on_drop` also in the sender's).

    Attributes:
        decode: frame -> (H, W, 3) uint8 RGB; InputError for a bad one.
        request: camera -> what somebody wants of it now; None for all outputs.
        on_forecast: takes each result and its frame, and publishes it.
        on_drop: takes each given-up frame and the reason.
        on_error: takes a frame that failed, the reason and the exception.
        too_old: whether a frame, whose turn has come, is too old to be worth forecasting.
    """

    decode: Callable[[Frame], np.ndarray]
    request: Callable[[str], OutputRequest | None]
    on_forecast: Callable[[Forecast, Frame], None]
    on_drop: Callable[[Frame, str], None] = lambda frame, reason: None
    on_error: Callable[[Frame, str, Exception], None] = lambda frame, reason, error: None
    too_old: Callable[[Frame], bool] = lambda frame: False
