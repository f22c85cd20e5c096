"""What a world forecaster can be asked: shapes, stamps, horizons, motion and samples."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dino_foresight_ros.model.forecasters.interface import Forecaster, FrameMemory
from dino_foresight_ros.model.forecasters.motion_conditioning import check_motion
from dino_foresight_ros.outputs import MAX_CONTEXT_FRAMES, MAX_SAMPLES

SAME_INSTANT_S = 1e-6
"""Horizons closer together are one."""


def check_question(
    forecaster: Forecaster,
    memories: FrameMemory,
    stamps_s: Tensor,
    ahead_s: Sequence[float],
    motion: Tensor | None,
    samples: int,
    layers: Sequence[int],
) -> None:
    """Check the arguments of `stream`.

    Raises:
        ValueError: one that is out of range or of another shape.
    """
    z = memories[0]
    if z.ndim != 5 or z.shape[-1] != forecaster.channels or z.shape[:2] != stamps_s.shape:
        raise ValueError(
            f"context has shape {tuple(z.shape)} and {tuple(stamps_s.shape)} stamps, expected "
            f"(B, N, h, w, {forecaster.channels}) and (B, N)"
        )
    frames = stamps_s.shape[1]
    if not 1 <= frames <= MAX_CONTEXT_FRAMES:
        raise ValueError(f"context has {frames} frames; it must be 1 to {MAX_CONTEXT_FRAMES}")
    if bool((stamps_s.diff(dim=1) <= 0).any()):
        raise ValueError("stamps of context frames must rise; two are equal or fall")
    age_s = float((stamps_s[:, -1] - stamps_s[:, 0]).max())
    if age_s > forecaster.max_context_age_s + SAME_INSTANT_S:
        raise ValueError(
            f"the oldest context frame is {age_s:.3g} s older than the newest; at most "
            f"{forecaster.max_context_age_s:g} s are allowed (max_context_age_s)"
        )
    forecaster.check_horizons(ahead_s)
    if motion is not None:
        if not forecaster.takes_motion:
            raise ValueError(
                "this forecaster takes no motion; train one with `foresight train forecaster "
                "--kind world --motion blocks`"
            )
        check_motion(motion, len(stamps_s), len(ahead_s), samples)
    if not 1 <= samples <= forecaster.max_samples:
        raise ValueError(
            f"samples is {samples}; this model forecasts one future"
            if forecaster.max_samples == 1
            else f"samples is {samples}; it must be 1 to {MAX_SAMPLES}"
        )
    if not set(layers) <= set(range(forecaster.layers)):
        raise ValueError(f"layers {list(layers)} are not all 0 to {forecaster.layers - 1}")
