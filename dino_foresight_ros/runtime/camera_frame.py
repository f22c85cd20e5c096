"""One camera's frame on its way into the engine, and what became of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime.context import Arrival
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.request import OutputRequest, is_whole


class CameraFrame(NamedTuple):
    """One camera's image and its stamp.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: nanoseconds.
        request: what to compute from it; the engine's own request when None.
    """

    image: np.ndarray
    stamp_ns: int
    request: OutputRequest | None = None


class CameraResult(NamedTuple):
    """What became of one camera's frame.

    Attributes:
        forecast: None where there is none; then `drop` or `error` says why.
        drop: "context_filling", "duplicate_stamp", "out_of_order" or "unwanted".
        error: an `InputError` of a bad frame, which left the context as it was, or a
            `ModelOutputError`, after which the camera's context is empty.
        arrival: how the frame's stamp stood to those before it; None for a bad frame.
    """

    forecast: Forecast | None = None
    drop: str | None = None
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
