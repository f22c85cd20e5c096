"""A camera's frame on its way to the engine, and what becomes of it: plain arrays, no ROS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime.context import Arrival
from dino_foresight_ros.runtime.request import MotionRows, OutputRequest, is_whole
from dino_foresight_ros.scene import Scene


@dataclass(frozen=True, eq=False)
class QueuedFrame:
    """A frame as it came, not decoded yet, with all that is needed to work at it.

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
        motion: how the base moves from it on, as `OutputRequest.motion`; asked in its turn, since
            odometry of its instant may come after it. None where that is of no use.
        focal: (height, width) of the picture -> as `OutputRequest.focal`; asked in its turn too.
            None where that is of no use.
    """

    payload: Any
    stamp_ns: int
    received_s: float
    camera: str = ""
    decode: Callable[[Any], np.ndarray] = np.asarray
    request: OutputRequest | None = None
    max_age_ns: int | None = None
    held_back: DropReason | None = None
    motion: Callable[[], MotionRows | None] | None = None
    focal: Callable[[tuple[int, int]], float | None] | None = None

    @property
    def reason_unused(self) -> DropReason:
        """What it is dropped for when it is used for nothing."""
        return self.held_back or DropReason.SUPERSEDED


class CameraFrame(NamedTuple):
    """A decoded frame, as the engine takes it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: nanoseconds.
        request: what to compute from it; the engine's own request when None.
    """

    image: np.ndarray
    stamp_ns: int
    request: OutputRequest | None = None


@dataclass(frozen=True)
class Forecast:
    """One forecast: every step predicted from one context.

    Attributes:
        stamp_ns: stamp of the newest context frame, nanoseconds.
        context_stamps_ns: stamps of the context frames used, oldest first.
        frame_interval_s: the bundle's nominal time between steps.
        steps: predicted steps, step 1 first.
        model_name: name of the bundle.
        trained: False when the weights are random: the result means nothing then.
        duration_s: wall time that the engine spent on this frame, seconds.
        step_0: the newest context frame itself, as the heads describe it; None unless asked for.
    """

    stamp_ns: int
    context_stamps_ns: tuple[int, ...]
    frame_interval_s: float
    steps: tuple[Scene, ...]
    model_name: str
    trained: bool
    duration_s: float
    step_0: Scene | None = None


class CameraResult(NamedTuple):
    """What became of one camera's frame.

    Attributes:
        forecast: None where there is none; then `drop` or `error` says why.
        drop: context_filling, duplicate_stamp, out_of_order or unwanted.
        error: an `InputError` of a bad frame, which left the context as it was, or a
            `ModelOutputError`, after which the camera's context is empty.
        arrival: how the frame's stamp stood to those before it; None for a bad frame.
    """

    forecast: Forecast | None = None
    drop: DropReason | None = None
    error: ForesightError | None = None
    arrival: Arrival | None = None


class ModelOutputError(ForesightError):
    """The model gave NaN or infinity; nothing was forecast and the context was dropped."""

    drop_reason = DropReason.BAD_OUTPUT


def check_frame(frame: CameraFrame) -> None:
    """Check types and shapes.

    Raises:
        InputError: naming what does not fit.
    """
    if not is_whole(frame.stamp_ns):
        raise InputError(f"stamp_ns is {frame.stamp_ns!r}, expected a whole number of nanoseconds")
    _check_image(frame.image)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray):
        raise InputError(f"image is a {type(image).__name__}, expected (H, W, 3) uint8 RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"image has shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8 RGB"
        )
    if 0 in image.shape:
        raise InputError(f"image is empty: shape {image.shape}")
